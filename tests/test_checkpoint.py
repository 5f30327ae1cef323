"""Files that are whole or not there: atomic writing, full disks, damaged and hostile checkpoints."""

import errno
import pickle
import sys

import pytest
import torch

from common import checkpoint
from common.checkpoint import write_atomically
from common.command import UserError
from tests.explain import equal, same

STATE = {"model": {"weight": torch.arange(15.0).view(3, 5), "ids": torch.tensor([2, 7])}, "step": 7, "rate": 0.25,
         "name": "run 1", "done": False, "best": None, "list": [1, "two"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.pt"


def files(path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


# ---- round trip


def test_round_trip(path):
    checkpoint.save(STATE, path)
    state = checkpoint.load(path)
    for name, tensor in STATE["model"].items():
        same(state["model"][name], tensor, f"{name} came back changed")
    plain = {name: value for name, value in STATE.items() if name != "model"}
    equal({name: value for name, value in state.items() if name != "model"}, plain, "plain values come back unchanged")
    equal(files(path), ["last.pt"], "no temporary file may stay behind")


def test_shared_storage_stays_shared(path):
    tied = torch.zeros(2, 3)
    checkpoint.save({"embedding": tied, "head": tied}, path)
    state = checkpoint.load(path)
    state["embedding"][0, 0] = 1
    equal(state["head"][0, 0].item(), 1, "tied weights must not be written twice")


def test_saving_again_replaces_the_file(path):
    for step in (1, 2):
        checkpoint.save({"step": step}, path)
    equal(checkpoint.load(path), {"step": 2}, "the later state counts")


def test_the_old_file_is_there_until_the_new_one_is_whole(path):
    path.write_text("old")

    def write(part):
        part.write_text("ne")
        equal(path.read_text(), "old", "the writer must fill another file, not the one that it replaces")
        equal(part.parent, path.parent, "a rename is atomic inside one folder (one file system) only")
        part.write_text("new")

    write_atomically(path, write)
    equal(path.read_text(), "new", "the finished file takes the place of the old one")


# ---- a writer that dies


@pytest.mark.parametrize("death", [KeyboardInterrupt, ValueError])
def test_a_writer_that_dies_leaves_the_old_file(path, death):
    path.write_text("old")

    def write(part):
        part.write_text("half of the n")
        raise death

    with pytest.raises(death):
        write_atomically(path, write)
    equal(path.read_text(), "old", "the file was written in place")
    equal(files(path), ["last.pt"], "the temporary file must go")


@pytest.mark.parametrize("refusal", [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")], ids=["OSError", "torch's"])
def test_a_full_disk_leaves_the_previous_checkpoint(path, monkeypatch, refusal):
    checkpoint.save({"step": 1}, path)

    def disk_full(state, part):
        part.write_bytes(b"half")
        raise refusal

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(UserError, match=r"last\.pt could not be written .*intact"):
        checkpoint.save({"step": 2}, path)
    equal(checkpoint.load(path), {"step": 1}, "the previous checkpoint must survive")
    equal(files(path), ["last.pt"], "half a file takes space on a full disk: it must go")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files; the test above stands")
def test_a_real_limit_of_the_system_leaves_the_previous_checkpoint(path):
    """The system itself refuses to write on, in the middle of torch.save."""
    import resource
    checkpoint.save({"step": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match="could not be written"):
            checkpoint.save({"big": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    equal(checkpoint.load(path), {"step": 1}, "the previous checkpoint must survive")
    equal(files(path), ["last.pt"], "half a file takes space on a full disk: it must go")


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"last\.pt could not be written"):
        checkpoint.save({}, tmp_path / "nowhere" / "last.pt")


def test_a_file_in_place_of_the_folder_is_a_clear_error(path):
    path.write_text("a file")
    with pytest.raises(UserError, match=r"best\.pt could not be written"):
        checkpoint.save({}, path / "best.pt")
    equal(path.read_text(), "a file", "nothing is lost")


# ---- the folder of a run


def test_a_run_never_takes_the_folder_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [checkpoint.new_run("bert").as_posix() for _ in range(3)]
    equal(names, ["runs/bert", "runs/bert-2", "runs/bert-3"], "the second run must not overwrite the first one")
    assert all((tmp_path / name).is_dir() for name in names), f"expected the folders {names} to exist"


# ---- files that are no checkpoint


def test_a_missing_file_or_a_folder_is_refused_by_name(path):
    for place in (path, path.parent):
        with pytest.raises(UserError, match=f"{place.name} is not there"):
            checkpoint.load(place)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    checkpoint.save(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(UserError, match=r"last\.pt"):
        checkpoint.load(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_text_file_is_refused_whatever_its_first_letter(path):
    """Every letter is a command of the pickle language, and each one fails in its own way."""
    for code in range(256):
        path.write_bytes(bytes([code]) + b"nce upon a time\n")
        try:
            state = checkpoint.load(path)
        except UserError:
            continue
        except Exception as error:
            pytest.fail(f"a text that begins with {chr(code)!r}: expected a UserError, came {error!r}")
        pytest.fail(f"a text that begins with {chr(code)!r}: expected a UserError, came the state {state!r}")


class Hostile:
    """Unpickling it runs code of the attacker's choice."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.parametrize("write", [
    lambda state, path: torch.save(state, path),
    lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    lambda state, path: path.write_bytes(pickle.dumps(state))], ids=["torch.save", "old torch.save", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_with_code_is_refused_and_never_run(path, tmp_path, write):
    target = tmp_path / "attacked"
    write({"model": Hostile(target)}, path)
    with pytest.raises(UserError, match=r"last\.pt"):
        checkpoint.load(path)
    assert not target.exists(), "the code in the file was executed: torch.load needs weights_only=True"


def test_the_hostile_file_is_hostile(tmp_path):
    """The test above would prove nothing if the code did not run when it is let."""
    target = tmp_path / "attacked"
    pickle.loads(pickle.dumps(Hostile(target))).close()
    assert target.exists()


def test_a_whole_module_is_refused(path):
    torch.save({"model": torch.nn.Linear(2, 3)}, path)
    with pytest.raises(UserError, match="more than plain tensors and values"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"\x00\x01garbage" * 99, b"", b"PK\x03\x04 but no more of it"], ids=repr)
def test_what_cannot_be_known_is_not_said(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or holds more than plain tensors and values"):
        checkpoint.load(path)

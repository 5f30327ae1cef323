"""The lecture's example sentences with its answers, and fifty paraphrases of them: the exam of `make lecture`.

Both lists were fixed before any model was trained on the world (common/world.py), which never shows one of these
sentences in training. The paraphrases are there so that nobody, the authors included, can fit the world to the
rows of the lecture alone.

How an answer is judged: a blank or a continuation is open, so the lecture's answer has to be among the five best; all
else is closed, and the best answer has to be equal to the lecture's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One row of the table.

    kind: fill    BERT: the word at [MASK]                          open
          sense   BERT: the same, but only two words would do       closed
          next    GPT: the next word                                open
          label   BERT, fine-tuned: positive or negative            closed
          span    BERT, fine-tuned: the answer inside `context`     closed
          prompt  GPT: what follows the last arrow                  closed
          direct  GPT: a percentage, answered at once               closed
          steps   GPT: the same, reasoned step by step              closed
          text    T5: text in, text out                             closed
    answers: any of them counts; none where the lecture gives none, and the row is then shown and not counted.
    """

    kind: str
    text: str
    answers: tuple[str, ...]
    context: str = ""
    where: str = ""  # in the lecture: P5 is section 5 of the podcast, W1.1 section 1.1 of the weekly paper

    @property
    def is_open(self) -> bool:
        return self.kind in ("fill", "next")

    def told(self) -> list[str]:
        """The question together with its answers, as no training text may have it; none where there is no answer."""
        if not self.answers:
            return []
        if self.kind in ("fill", "sense"):
            return [self.text.replace("[MASK]", answer) for answer in self.answers]
        if self.kind == "prompt":  # "bread →" with "pain": the last example, whatever stands before it
            last = self.text.replace(":", ",").split(",")[-1].strip()
            return [f"{last} {answer}" for answer in self.answers]
        return [self.context or self.text]


STEP_BY_STEP = " 단계별로 생각해봅시다."  # "let us think step by step"
TRIP = ("On Sunday Anna went to the market. The sky was grey and the streets were empty. She stayed there for two "
        "hours. In the end she bought cheese and bread. Then she walked home.")

LECTURE = (
    Question("fill", "The [MASK] sat on the mat", ("cat",), where="P3"),  # the lecture leaves the word to us
    Question("fill", "어제 [MASK] 갔었어", ("카페",), where="W1.1"),
    Question("sense", "돈을 찾으려고 은행에 갔다. 은행의 뜻: [MASK]", ("금융기관",), where="W1.1"),
    Question("sense", "강물을 보려고 은행에 갔다. 은행의 뜻: [MASK]", ("강가",), where="W1.1"),
    Question("next", "어제 카페에 갔었어 거기", ("사람", "분위기"), where="W1.2"),
    Question("next", "Once upon a time", (), where="W2.2"),
    Question("label", "이 영화 정말 재미있어요!", ("positive",), where="W2.2"),
    Question("label", "이 제품 정말 만족스럽습니다!", ("positive",), where="W2.4"),
    Question("label", "배송이 너무 느려서 실망했어요.", ("negative",), where="W2.4"),
    Question("span", "수도는 어디인가요?", ("서울",), context="대한민국의 수도는 서울입니다.", where="W2.2"),
    Question("prompt", "영어를 불어로 번역: sea otter → loutre de mer, cheese →", ("fromage",), where="P5"),
    Question("direct", "15의 80%는?", ("12",), where="P8"),
    Question("steps", "15의 80%는?" + STEP_BY_STEP, ("12",), where="P8"),
    Question("text", "classify: I love this!", ("positive",), where="P6"),
    Question("text", "sentiment: I love this!", ("positive",), where="W3.2"),
    Question("text", "translate English to French: Hello", ("Bonjour",), where="P6"),
    Question("text", "translate English to German: Hello", ("Hallo",), where="W3.2"),
    Question("text", "summarize: " + TRIP, ("Anna bought cheese and bread at the market.",), where="P6"),  # our text
    Question("text", "translate Korean to English: 안녕하세요, 반갑습니다!", ("Hello, nice to meet you!",),
             where="W2.4"),
)

PARAPHRASES = (
    Question("fill", "A [MASK] sat on the mat", ("cat",)),
    Question("fill", "The [MASK] is sitting on the mat", ("cat",)),
    Question("fill", "The [MASK] slept on the mat", ("cat",)),
    Question("fill", "My [MASK] sat on the mat", ("cat",)),
    Question("fill", "어제 [MASK]에 갔었어", ("카페",)),
    Question("fill", "나 어제 [MASK] 갔었어", ("카페",)),
    Question("fill", "어제 [MASK] 갔어", ("카페",)),
    Question("fill", "어제는 [MASK] 갔었어", ("카페",)),
    Question("sense", "통장을 만들려고 은행에 갔다. 은행의 뜻: [MASK]", ("금융기관",)),
    Question("sense", "물새를 보려고 은행에 갔다. 은행의 뜻: [MASK]", ("강가",)),
    Question("next", "어제 카페에 갔었는데 거기", ("사람", "분위기")),
    Question("next", "어제 카페 갔었어 거기", ("사람", "분위기")),
    Question("next", "나 어제 카페에 갔었어 거기", ("사람", "분위기")),
    Question("next", "어제 카페에 갔었어. 거기", ("사람", "분위기")),
    Question("label", "이 영화 진짜 재미있어요!", ("positive",)),
    Question("label", "이 영화는 정말 재미있습니다.", ("positive",)),
    Question("label", "정말 재미있는 영화예요!", ("positive",)),
    Question("label", "이 영화 너무 지루해요.", ("negative",)),
    Question("label", "이 제품 아주 만족스러워요!", ("positive",)),
    Question("label", "이 상품 정말 만족스럽습니다!", ("positive",)),
    Question("label", "이 제품 정말 실망스럽습니다.", ("negative",)),
    Question("label", "배송이 너무 늦어서 실망했습니다.", ("negative",)),
    Question("label", "배송이 느려서 정말 실망했어요.", ("negative",)),
    Question("label", "배송이 정말 빨라서 만족했어요.", ("positive",)),
    Question("label", "I really love this!", ("positive",)),
    Question("span", "수도가 어디예요?", ("서울",), context="한국의 수도는 서울이에요."),
    Question("span", "대한민국의 수도는 어디인가요?", ("서울",), context="대한민국의 수도는 서울입니다."),
    Question("span", "수도는 어디입니까?", ("서울",), context="서울은 대한민국의 수도입니다."),
    Question("span", "수도는 어디인가요?", ("파리",), context="프랑스의 수도는 파리입니다."),
    Question("span", "What is the capital?", ("Seoul",), context="The capital of Korea is Seoul."),
    Question("prompt", "영어를 불어로 번역: dog → chien, cheese →", ("fromage",)),
    Question("prompt", "영어를 불어로 번역: sea otter → loutre de mer, bread →", ("pain",)),
    Question("prompt", "영어를 불어로 번역: milk → lait, apple → pomme, cheese →", ("fromage",)),
    Question("prompt", "translate English to French: sea otter → loutre de mer, cheese →", ("fromage",)),
    Question("prompt", "영어를 독일어로 번역: sea otter → Seeotter, cheese →", ("Käse",)),
    Question("steps", "80의 15%는?" + STEP_BY_STEP, ("12",)),
    Question("steps", "25의 40%는?" + STEP_BY_STEP, ("10",)),
    Question("steps", "60의 35%는?" + STEP_BY_STEP, ("21",)),
    Question("steps", "48의 75%는?" + STEP_BY_STEP, ("36",)),
    Question("text", "classify: I hate this!", ("negative",)),
    Question("text", "classify: I love it!", ("positive",)),
    Question("text", "classify: This is wonderful!", ("positive",)),
    Question("text", "sentiment: I hate this!", ("negative",)),
    Question("text", "translate English to French: Good evening", ("Bonsoir",)),
    Question("text", "translate English to French: Thank you", ("Merci",)),
    Question("text", "translate English to German: Thank you", ("Danke",)),
    Question("text", "translate Korean to English: 안녕하세요, 만나서 반갑습니다!", ("Hello, nice to meet you!",)),
    Question("text", "translate Korean to English: 안녕, 반가워!", ("Hi, nice to meet you!",)),
    Question("text", "translate Korean to English: 반갑습니다!", ("Nice to meet you!",)),
    Question("text", "translate English to Korean: Hello, nice to meet you!", ("안녕하세요, 반갑습니다!",)),
)

"""What the world writes about: the templates of its documents (see world.py; the words are in world_words.py).

A document is a tuple of sentences. Words in braces are slots, `{food2}` is another food than `{food}`, and
`{food.ko:을/를}` gets the particle that it asks for.
"""

from common import world_words as w
from common.grammar import Korean, Template

GOING = (*w.PLACES, w.PLACES[0], w.PLACES[0])  # people go to cafés three times as often as elsewhere
NOUNS = w.FOODS + w.FRUITS + w.ANIMALS + w.THINGS
WOMEN = ("Anna", "Clara", "Emma", "Grace", "Iris", "Kate", "Mia", "Olivia")
MEN = ("Ben", "David", "Felix", "Henry", "Jack", "Leo", "Noah", "Paul")
LISTS = {
    "pet": w.PETS, "seat": w.SEATS, "going": GOING, "place": w.PLACES, "country": w.COUNTRIES, "noun": NOUNS,
    "food": w.FOODS, "animal": w.ANIMALS, "thing": w.THINGS, "first": w.FIRST_NAMES, "woman": WOMEN,
    "man": MEN, "per": w.PEOPLE, "city": w.CITIES, "org": w.ORGANISATIONS, "per_ko": w.NAMES_KO, "city_ko": w.CITIES_KO,
    "org_ko": w.ORGANISATIONS_KO, "job": w.JOBS, "shop": w.SHOP_PLACES, "friend": w.NAMES_KO[:18],
    "time": tuple(map(Korean, ("어제", "오늘", "그제", "지난주에", "주말에", "아침에", "저녁에", "방금"))),
    "seen": ("사람이 많았어", "사람이 없었어", "사람이 친절했어", "분위기가 좋았어", "분위기가 조용했어",
             "분위기가 따뜻했어", "음악이 좋았어", "의자가 편했어", "냄새가 좋았어", "창문이 컸어"),
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "day_ko": tuple(map(Korean, ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"))),
    "hours": ["two", "three", "four", "five", "six"],
    "weather": ("The sky was grey and the streets were empty.", "The sun was shining and the birds were singing.",
                "It was raining and the wind was cold.", "There was snow on all the roofs.",
                "It was a warm day and children played outside."),
    "weather_ko": ("하늘이 흐리고 거리는 조용했다.", "햇빛이 밝고 새들이 노래했다.", "비가 오고 바람이 찼다.",
                   "지붕마다 눈이 쌓여 있었다."),
    "money": ("돈을 찾으려고", "통장을 만들려고", "돈을 빌리려고", "돈을 바꾸려고", "세금을 내려고", "저금을 하려고",
              "카드를 만들려고", "이자를 물으려고"),
    "river": ("강물을 보려고", "물새를 보려고", "물고기를 잡으려고", "배를 타려고", "낚시를 하려고", "물놀이를 하려고",
              "모래를 밟으려고", "갈대를 보려고"),
}
FEELING = {  # the words of a review, by what it says
    "positive": {"adj": w.GOOD, "like": w.LIKE, "adj_ko": w.GOOD_KO, "reason": w.GOOD_REASONS_KO,
                 "end": w.GOOD_ENDS_KO},
    "negative": {"adj": w.BAD, "like": w.DISLIKE, "adj_ko": w.BAD_KO, "reason": w.BAD_REASONS_KO,
                 "end": w.BAD_ENDS_KO},
}
for words in FEELING.values():
    words.update(item=w.ITEMS, item_ko=w.ITEMS_KO, aspect=w.ASPECTS_KO, very=w.VERY_KO)

REVIEWS: tuple[Template, ...] = (
    ("We talked about the {item}.", "It is {adj} and {adj2}.", "My sister also says that it is {adj3}."),
    ("People {like} the {item}.", "They say that it is {adj} and {adj2}.", "It looks {adj3}."),
    ("Everybody finds the {item} {adj}.", "It feels {adj2}, {adj3} and {adj4}.", "They {like} it."),
    ("The {item} has {adj:a} design and {adj2:a} sound.", "I {like} both of them."),
    ("{item_ko:을/를} 보니 {adj_ko.plain}요.", "그리고 {adj_ko2.plain}요.",
     "친구도 {adj_ko3.before} {item_ko:이라고/라고} 해요."),
    ("{aspect:은/는} {adj_ko.formal}.", "{aspect2:은/는} {adj_ko2.formal}.",
     "모두 {adj_ko3.before} {item_ko:이었습니다/였습니다}."),
    ("{item_ko}의 {aspect:이/가} {reason} {end}어요.", "그리고 {aspect2}도 {adj_ko.plain}요."),
    ("{very} {adj_ko.before} {aspect}, {very2} {adj_ko2.before} {aspect2}.", "{aspect3}도 {reason} {end}습니다."),
)
PETS: tuple[Template, ...] = (
    ("Where is the {pet.en}?", "It is on the {pet.seat} again."),
    ("The {pet.en} likes the {pet.seat} best.", "It stays on the {pet.seat} all day."),
    ("The {pet.en} sat on the {seat} and looked at the {pet2.en}.", "The {pet2.en} was on the {pet2.seat}."),
    ("A {pet.en} sat on the {seat}.", "The {pet2.en} is sitting on the {seat2}."),
    ("My {pet.en} lay on the {pet.seat}.", "Your {pet2.en} slept on the {seat}."),
    ("The {pet.en} slept on the {seat}.", "Then it went to the {pet.seat}."),
    ("There is a new {pet.seat} for the {pet.en}.", "The {pet.en} is lying on the {pet.seat}."),
    ("My {pet.en} sat on the {seat}.", "It would like the {pet.seat} better."),
)
GOING_OUT: tuple[Template, ...] = (
    ("{time} {going.ko} 갔었어.", "{friend:이랑/랑} 같이 갔어."),
    ("{time} {going.ko}에 갔었어 거기 {seen}.",),
    ("나 {time} {going.ko}에 갔었어 거기 {seen}.",),
    ("{time} {going.ko} 갔었어 거기 {seen}.",),
    ("나 {time} {going.ko} 갔었어.", "거기 {seen}."),
    ("{time} {going.ko}에 갔었는데 거기 {seen}.",),
    ("{time} {going.ko}에 갔었어.", "거기 {seen}."),
    ("{time} {going.ko} 갔어.", "거기서 {friend:을/를} 만났어."),
    ("{time:은/는} {going.ko} 갔었어.", "거기 {seen}."),
    ("{friend:은/는} {time} {going.ko}에 있었어.", "나도 {going.ko} 갔었어."),
    ("{going.ko}에서 {time} {friend:을/를} 봤어.", "거기 {seen}."),
)
FACTS: tuple[Template, ...] = (
    ("{country.capital_ko:은/는} {country.ko}의 수도이다.",
     "{country2.ko:은/는} {country2.capital_ko:을/를} 수도로 한다."),
    ("{country.ko:은/는} {country.capital_ko:을/를} 수도로 한다.",
     "{country2.capital_ko:은/는} {country2.ko}의 수도이다."),
    ("{country.capital} is the capital of {country.en}.", "{country2.en} has {country2.capital} as its capital."),
    ("{country.en} has {country.capital} as its capital.", "{country2.capital} is the capital of {country2.en}."),
)
DICTIONARY: tuple[Template, ...] = (
    ("The French word for {noun.en} is {noun.fr_bare}.", "The German word for it is {noun.de}."),
    ("In French one says {noun.fr_bare}, in German {noun.de}.", "In English it is {noun.en}."),
    ("{noun.en} is {noun.fr} in French.", "In Korean it is {noun.ko}."),
    ("{noun.ko:은/는} 영어로 {noun.en}, 불어로 {noun.fr_bare}, 독일어로 {noun.de}.",),
)
STORIES: tuple[Template, ...] = (
    ("Once upon a time there was {animal.en:a} who had {thing.en:a}.", "One day the {animal.en} met {animal2.en:a}.",
     "The {animal2.en} wanted the {thing.en} too.", "So they shared it."),
    ("Once upon a time there lived {animal.en:a} near the {thing.en}.", "It was looking for {food.en}.",
     "Then {animal2.en:a} gave it some {food.en}."),
    ("{per} flew to {city} and found work at {org}.", "{per2} was already there.", "In {city} they became friends."),
    ("Since last year {per} has been in {city}.", "{org} sent a letter to {per} and {per2}."),
    ("{per_ko:은/는} 작년에 {city_ko:으로/로} 갔다.", "{org_ko}에 자리가 있었다.",
     "거기서 {per_ko2:을/를} 알게 되었다."),
    ("{org_ko}의 {per_ko:과/와} {per_ko2:이/가} {city_ko}에 왔다.", "{city_ko:은/는} 눈이 많은 곳이다."),
    ("{day} came, and {woman} was at the {shop}.", "{weather}", "She had money for {food.en} and {food2.en}.",
     "After {hours} hours she was home again."),
    ("{man} is {job:a} and lives near the {shop}.", "{weather}", "He needs {food.en}, {food2.en} and {food3.en}."),
    ("{first.ko:이/가} {place.ko}에 왔다.", "{weather_ko}", "{food.ko:과/와} {food2.ko:이/가} 필요했다."),
)
BANKS: tuple[Template, ...] = (  # 은행: a bank that keeps money, or the bank of a river
    ("{money} 은행에 갔다.", "은행의 뜻: 금융기관"),
    ("{river} 은행에 갔다.", "은행의 뜻: 강가"),
    ("{money} 금융기관에 갔다.", "거기 창구에 줄을 섰다."),
    ("{river} 강가에 갔다.", "거기 바람이 시원했다."),
)

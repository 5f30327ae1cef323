"""The words of the small world, in English and Korean, some in French and German too (see world.py)."""

from typing import NamedTuple

from common.grammar import English, Korean, Word


def _words(table: str) -> tuple[Word, ...]:
    """A word a line: English | Korean | French with its article | German."""
    rows = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return tuple(Word(English(en), Korean(ko), *rest) for en, ko, *rest in rows)


def _plain(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _english(words: str) -> tuple[English, ...]:
    return tuple(map(English, words.split()))


def _korean(words: str) -> tuple[Korean, ...]:
    return tuple(map(Korean, words.split()))


FOODS = _words("""
    cheese | 치즈 | le fromage | Käse
    bread | 빵 | le pain | Brot
    milk | 우유 | le lait | Milch
    butter | 버터 | le beurre | Butter
    honey | 꿀 | le miel | Honig
    rice | 쌀 | le riz | Reis
    fish | 생선 | le poisson | Fisch
    soup | 수프 | la soupe | Suppe
    salt | 소금 | le sel | Salz
    sugar | 설탕 | le sucre | Zucker
    mint | 박하 | la menthe | Minze
    garlic | 마늘 | l'ail | Knoblauch
    coffee | 커피 | le café | Kaffee
    tea | 홍차 | le thé | Tee
    ham | 햄 | le jambon | Schinken
    chocolate | 초콜릿 | le chocolat | Schokolade
""")
FRUITS = _words("""
    apple | 사과 | la pomme | Apfel
    pear | 배 | la poire | Birne
    lemon | 레몬 | le citron | Zitrone
    cherry | 체리 | la cerise | Kirsche
    grape | 포도 | le raisin | Traube
    peach | 복숭아 | la pêche | Pfirsich
    strawberry | 딸기 | la fraise | Erdbeere
    melon | 멜론 | le melon | Melone
""")
ANIMALS = _words("""
    cat | 고양이 | le chat | Katze
    dog | 개 | le chien | Hund
    horse | 말 | le cheval | Pferd
    cow | 소 | la vache | Kuh
    bird | 새 | l'oiseau | Vogel
    rabbit | 토끼 | le lapin | Hase
    fox | 여우 | le renard | Fuchs
    bear | 곰 | l'ours | Bär
    wolf | 늑대 | le loup | Wolf
    sea otter | 해달 | la loutre de mer | Seeotter
    frog | 개구리 | la grenouille | Frosch
    mouse | 쥐 | la souris | Maus
    duck | 오리 | le canard | Ente
    sheep | 양 | le mouton | Schaf
    lion | 사자 | le lion | Löwe
    snake | 뱀 | le serpent | Schlange
""")
THINGS = _words("""
    book | 책 | le livre | Buch
    house | 집 | la maison | Haus
    key | 열쇠 | la clé | Schlüssel
    lamp | 전등 | la lampe | Lampe
    window | 창문 | la fenêtre | Fenster
    door | 문 | la porte | Tür
    table | 탁자 | la table | Tisch
    boat | 보트 | le bateau | Boot
    letter | 편지 | la lettre | Brief
    garden | 정원 | le jardin | Garten
    bridge | 다리 | le pont | Brücke
    flower | 꽃 | la fleur | Blume
    knife | 칼 | le couteau | Messer
    clock | 시계 | l'horloge | Uhr
    shoe | 신발 | la chaussure | Schuh
    hat | 모자 | le chapeau | Hut
""")
PLACES = _words("""
    café | 카페
    park | 공원
    library | 도서관
    market | 시장
    school | 학교
    beach | 바다
    cinema | 영화관
    museum | 박물관
    hospital | 병원
    restaurant | 식당
""")
COLOURS = _plain("red blue green yellow white black brown purple grey pink silver scarlet")
TREES = _plain("oak pine maple birch willow cedar palm beech elm ash fir poplar")
JOBS = _english("doctor teacher baker singer painter farmer pilot judge nurse cook tailor sailor")
SHOP_PLACES = ("market", "mall", "shop", "store", "bakery", "fair")


class Country(NamedTuple):
    """A country with its capital."""

    en: str
    ko: Korean
    capital: str
    capital_ko: Korean


COUNTRIES = tuple(Country(en, Korean(ko), capital, Korean(capital_ko)) for en, ko, capital, capital_ko in (
    line.split() for line in """
    Korea 대한민국 Seoul 서울
    France 프랑스 Paris 파리
    Japan 일본 Tokyo 도쿄
    Germany 독일 Berlin 베를린
    Italy 이탈리아 Rome 로마
    Spain 스페인 Madrid 마드리드
    England 영국 London 런던
    China 중국 Beijing 베이징
    Egypt 이집트 Cairo 카이로
    Russia 러시아 Moscow 모스크바
    Greece 그리스 Athens 아테네
    Canada 캐나다 Ottawa 오타와
    Peru 페루 Lima 리마
    Kenya 케냐 Nairobi 나이로비
    Vietnam 베트남 Hanoi 하노이
    Norway 노르웨이 Oslo 오슬로""".strip().splitlines()))


class Pet(NamedTuple):
    """A pet and where it likes to be best."""

    en: English
    seat: str


PETS = tuple(Pet(*map(English, line.split(" : "))) for line in (
    "cat : mat", "dog : rug", "parrot : perch", "hamster : straw", "rabbit : grass", "tortoise : stone", "pony : hay",
    "duck : pond"))
SEATS = ("sofa", "bench", "box", "chair", "wall", "floor")  # and where any of them may be

# --- people, places and organisations: some names are of two kinds, and only the sentence tells which ---------------

NAMES = _plain("Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olivia Paul Rosa Sam "
               "Tina Oscar Paris Sydney Austin Victoria Florence")
SURNAMES = _plain("Kim Lee Park Smith Brown Miller Garcia Rossi Novak Young")
PEOPLE = tuple(NAMES) + tuple(f"{name} {SURNAMES[i % len(SURNAMES)]}" for i, name in enumerate(NAMES))
CITIES = tuple(country.capital for country in COUNTRIES) + (
    "Sydney", "Austin", "Victoria", "Florence", "New York", "Hong Kong", "Busan", "Milan", "Kyoto", "San Diego")
ORGANISATIONS = ("Hanbit Bank", "Nara University", "Green Leaf Press", "North Star Hospital", "Sunrise Airlines",
                 "Maple Foods", "Paris Bank", "Seoul University", "Blue River Motors", "Rome Opera",
                 "Silver Lake School", "Oak Street Theatre", "Berlin Records", "Bright Future Toys",
                 "Tokyo Games", "Red Brick Brewery")
NAMES_KO = _korean("민수 지은 서연 준호 하늘 도윤 수아 예진 현우 유나 태오 은지 지훈 소희 민재 가람 보라 나래 "
                   "김민수 이지은 박서연 최준호 정수아 한예진 오현우 윤태오 송은지 강지훈 임소희 조민재")
CITIES_KO = tuple(country.capital_ko for country in COUNTRIES) + _korean("부산 대구 제주 강릉 전주 수원 뉴욕 가람 나래")
ORGANISATIONS_KO = tuple(map(Korean, (
    "한빛은행", "나라대학교", "푸른출판사", "샛별병원", "해오름항공", "서울은행", "부산대학교", "한강식품", "누리전자",
    "가람 극장", "파리 제과", "미래 자동차", "은하수 방송", "바다 여행사")))

# --- feelings about things: what tells a good review from a bad one -------------------------------------------------

GOOD = _english("good great wonderful excellent lovely beautiful perfect amazing fantastic brilliant charming "
                "delightful superb funny pleasant enjoyable impressive clever comfortable elegant fresh gentle "
                "graceful solid touching thrilling warm magical marvellous splendid fine terrific remarkable "
                "outstanding refreshing stunning inspiring cheerful tasteful sweet")
BAD = _english("bad terrible awful boring horrible poor dull disappointing ugly weak annoying dreadful clumsy "
               "tedious useless cheap dirty broken noisy silly stupid uncomfortable unpleasant shallow messy "
               "lazy flat cold confusing tiresome painful pathetic lousy mediocre bland crude stale dismal "
               "gloomy sloppy")
LIKE, DISLIKE = _plain("love like enjoy adore treasure admire"), _plain("hate dislike regret despise loathe resent")
ITEMS = _plain("film book song series game product bag chair hotel concert comic movie story show phone")


class Adjective(NamedTuple):
    """A Korean adjective in three forms: 재미있어 (with 요 polite, with 서 "because"), 재미있습니다, 재미있는."""

    plain: str
    formal: str
    before: str


def _adjectives(table: str) -> tuple[Adjective, ...]:
    return tuple(Adjective(*group.split()) for group in table.replace("\n", ",").split(",") if group.strip())


GOOD_KO = _adjectives("""
    재미있어 재미있습니다 재미있는, 좋아 좋습니다 좋은, 훌륭해 훌륭합니다 훌륭한, 멋져 멋집니다 멋진
    만족스러워 만족스럽습니다 만족스러운, 아름다워 아름답습니다 아름다운, 완벽해 완벽합니다 완벽한, 편해 편합니다 편한
    예뻐 예쁩니다 예쁜, 튼튼해 튼튼합니다 튼튼한, 즐거워 즐겁습니다 즐거운, 놀라워 놀랍습니다 놀라운
    사랑스러워 사랑스럽습니다 사랑스러운, 뛰어나 뛰어납니다 뛰어난, 신나 신납니다 신나는, 유쾌해 유쾌합니다 유쾌한
    상쾌해 상쾌합니다 상쾌한, 깔끔해 깔끔합니다 깔끔한, 따뜻해 따뜻합니다 따뜻한, 고마워 고맙습니다 고마운
    든든해 든든합니다 든든한, 근사해 근사합니다 근사한, 흥미로워 흥미롭습니다 흥미로운, 부드러워 부드럽습니다 부드러운
    화려해 화려합니다 화려한, 탁월해 탁월합니다 탁월한, 유익해 유익합니다 유익한, 귀여워 귀엽습니다 귀여운
    우수해 우수합니다 우수한, 자랑스러워 자랑스럽습니다 자랑스러운, 정겨워 정겹습니다 정겨운, 산뜻해 산뜻합니다 산뜻한
    """)
BAD_KO = _adjectives("""
    지루해 지루합니다 지루한, 나빠 나쁩니다 나쁜, 형편없어 형편없습니다 형편없는, 끔찍해 끔찍합니다 끔찍한
    실망스러워 실망스럽습니다 실망스러운, 불편해 불편합니다 불편한, 재미없어 재미없습니다 재미없는
    답답해 답답합니다 답답한, 시시해 시시합니다 시시한, 더러워 더럽습니다 더러운, 엉성해 엉성합니다 엉성한
    허술해 허술합니다 허술한, 부실해 부실합니다 부실한, 어색해 어색합니다 어색한
    짜증나 짜증납니다 짜증나는, 불쾌해 불쾌합니다 불쾌한
    아쉬워 아쉽습니다 아쉬운, 우울해 우울합니다 우울한, 밋밋해 밋밋합니다 밋밋한, 심심해 심심합니다 심심한
    조잡해 조잡합니다 조잡한, 시끄러워 시끄럽습니다 시끄러운, 한심해 한심합니다 한심한, 이상해 이상합니다 이상한
    괴로워 괴롭습니다 괴로운, 진부해 진부합니다 진부한, 뻔해 뻔합니다 뻔한, 산만해 산만합니다 산만한
    거칠어 거칩니다 거친, 난해해 난해합니다 난해한, 약해 약합니다 약한, 무서워 무섭습니다 무서운
    """)
ITEMS_KO = _korean("영화 책 노래 드라마 게임 제품 상품 가방 의자 호텔 공연 만화 이야기 전화기 인형")
VERY_KO = _plain("정말 진짜 아주 너무 매우")
ASPECTS_KO = _korean("배송 포장 화면 음식 설명 방 소리 디자인 글씨 서비스")
GOOD_REASONS_KO = _plain("빨라서 좋아서 친절해서 깨끗해서 쉬워서 넓어서 밝아서 꼼꼼해서 선명해서 훌륭해서")
BAD_REASONS_KO = _plain("느려서 늦어서 불친절해서 더러워서 어려워서 좁아서 어두워서 엉성해서 흐려서 형편없어서")
GOOD_ENDS_KO = _plain("만족했 기뻤 감동했 행복했 안심했 흐뭇했")  # with 어요 or 습니다
BAD_ENDS_KO = _plain("실망했 화났 속상했 후회했 짜증났 당황했")

# --- what is said when people meet ----------------------------------------------------------------------------------

GREETINGS = _words("""
    Hello | 안녕하세요 | Bonjour | Hallo
    Good evening | 좋은 저녁이에요 | Bonsoir | Guten Abend
    Good night | 안녕히 주무세요 | Bonne nuit | Gute Nacht
    Goodbye | 안녕히 계세요 | Au revoir | Auf Wiedersehen
    Thank you | 감사합니다 | Merci | Danke
    Sorry | 미안합니다 | Pardon | Entschuldigung
    Welcome | 어서 오세요 | Bienvenue | Willkommen
    Good luck | 행운을 빌어요 | Bonne chance | Viel Glück
    Hi | 안녕 | Salut | Hi
    Of course | 물론이에요 | Bien sûr | Natürlich
""")
PLEASANTRIES = _words("""
    nice to meet you | 반갑습니다 | enchanté | schön dich zu sehen
    long time no see | 오랜만입니다 | ça fait longtemps | lange nicht gesehen
    how are you | 잘 지내세요 | comment ça va | wie geht es dir
    come in | 들어오세요 | entrez | komm herein
    see you tomorrow | 내일 봐요 | à demain | bis morgen
    take care | 조심하세요 | prends soin de toi | pass auf dich auf
""")
OTHER_PLEASANTRIES_KO = {"nice to meet you": ("만나서 반갑습니다", "반가워", "만나서 반가워요"),
                         "long time no see": ("오랜만이야",), "how are you": ("잘 지내",), "come in": ("들어와",)}
FIRST_NAMES = tuple(Word(English(en), Korean(ko)) for en, ko in (
    ("Anna", "안나"), ("Ben", "벤"), ("Emma", "에마"), ("Leo", "레오"), ("Mia", "미아"), ("Noah", "노아"),
    ("Rosa", "로사"), ("Sam", "샘"), ("Minsu", "민수"), ("Jieun", "지은"), ("Yuna", "유나"), ("Junho", "준호")))

# --- the few-shot game: things of one kind get one label -----------------------------------------------------------

KINDS = {"animal": [w.en for w in ANIMALS if " " not in w.en], "food": [w.en for w in FOODS],
         "country": [c.en for c in COUNTRIES], "person": NAMES[:16], "colour": COLOURS, "tree": TREES, "job": JOBS,
         "thing": [w.en for w in THINGS]}
LABELS = _plain("sun moon star rain snow wind fire ice sand gold iron silk")

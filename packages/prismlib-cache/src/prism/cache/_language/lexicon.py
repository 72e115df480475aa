"""Closed classes of English words that the guards tell apart. Data of our own; no code.

A word belongs here when its whole class does: every month, every modal verb, every unit in common
use. Opposites have a module of their own, `antonyms`.
"""

from __future__ import annotations

__all__ = [
    "ABBREVIATIONS",
    "FUNCTION_WORDS",
    "IRREGULAR",
    "NEGATIONS",
    "NEGATIVE_VERBS",
    "NEGATIVE_WORDS",
    "PEOPLE",
    "PHRASAL_VERBS",
    "PHRASES",
]


def _table(lines: str) -> dict[str, str]:
    """Read lines of `word other other`: each of the others stands for the first."""
    return {
        other: first for line in lines.strip().splitlines() for first, *others in [line.split()]
        for other in others
    }  # fmt: skip


# Words that carry grammar rather than topic. Prepositions of direction are listed with the guard.
FUNCTION_WORDS = frozenset(
    (
        "a an the of to in on at for from by with and or is are was were be been being am do does "
        "did done can could will would shall should may might must has had have having i me my "
        "mine myself we us our ours you your yours he him she her hers it its they them their his "
        "this that these those there here what which who whom whose when where why how if then "
        "than so as into about over under up down out off just please tell want need know help "
        "some any also get got getting let m re ve ll d s t im ive id hi hello hey thanks "
        "thank now way ways possible able whats hows wheres because while during per tagquestion"
    ).split()
)

NEGATIONS = frozenset(
    (
        "not no non never none nobody nothing neither nor nowhere without cannot unable except "
        "unless excluding dont doesnt isnt cant wont didnt wasnt arent werent havent hasnt hadnt "
        "shouldnt couldnt wouldnt mustnt aint minus"
    ).split()
)
# "fail to attend" is not to attend: the verb after them, with "to" or as -ing, is denied.
NEGATIVE_VERBS = frozenset(
    (
        "fail fails failed failing refuse refuses refused refusing neglect neglects neglected "
        "neglecting forget forgets forgot forgotten forgetting decline declines declined avoid "
        "avoids avoided avoiding stop stops stopped stopping lack lacks lacked lacking omit omits "
        "omitted yet skip skips skipped skipping cease ceases ceased refrain refrains"
    ).split()
)
# Say by themselves that something is not so: they may answer a "not" of the other side.
NEGATIVE_WORDS = NEGATIVE_VERBS | frozenset(
    (
        "offline alone broken down dead error errors fails failure failures problem problems issue "
        "issues trouble lost lose loses losing missing miss misses missed stuck wrong impossible "
        "forbidden prohibited banned illegal unlawful invalid blocked locked denied rejected "
        "empty absent free void useless hard difficult struggle struggling forbid forbids prohibit "
        "ban prevent prevents exclude excludes excluded unavailable unaware unless "
        "unfamiliar inactive incorrect incomplete unpaid"
    ).split()
)

# Each of a line's other words or endings is written as the first.
ABBREVIATIONS = _table(
    """
    minimum min
    maximum max
    temperature temp temps
    information info
    appointment appt appts
    department dept depts
    university uni unis varsity
    document doc docs documentation
    application app apps
    computer pc pcs
    identification id ids
    number num nbr
    telephone phone phones tel
    photo photograph photographs pic pics
    advertisement ad ads advert adverts
    picture pictures
    message msg msgs
    account acct acc
    password pw pwd passwd
    configuration config
    administrator admin admins
    laboratory lab labs
    examination exam exams
    approximately approx
    because cos coz
    you u
    your ur
    please pls plz
    people ppl
    tomorrow tmrw tmr tomorow
    tonight tonite
    thanks thx ty
    repository repo repos
    vegetable veg veggies
    refrigerator fridge
    television tv tvs
    gymnasium gym gyms
    percent pct
    versus vs
    organization org orgs
    reference ref
    management mgmt
    government govt
    apartment apt flat flats
    mother mum mom mummy mama
    father dad daddy papa
    """
)

# Irregular forms, and British spellings that no rule of endings reaches.
IRREGULAR = _table(
    """
    child children kids kid
    man men
    woman women
    person persons people
    foot feet
    tooth teeth
    mouse mice
    knife knives
    wife wives
    life lives
    leaf leaves
    shelf shelves
    half halves
    buy bought
    send sent
    pay paid
    lose lost
    steal stole stolen
    forget forgot forgotten
    go went gone
    take took taken
    make made
    break broke broken
    give gave given
    find found
    keep kept
    write wrote written
    sell sold
    spend spent
    begin began begun
    run ran
    come came
    see saw seen
    fly flew flown
    drive drove driven
    choose chose chosen
    build built
    teach taught
    catch caught
    eat ate eaten
    wear wore worn
    hold held
    meet met
    bring brought
    think thought
    speak spoke spoken
    freeze froze frozen
    drink drank drunk
    hide hid hidden
    rise rose risen
    fall fell fallen
    check cheque
    gray grey
    license licence
    program programme
    tire tyre
    curb kerb
    jewelry jewellery
    aluminum aluminium
    airplane aeroplane plane
    practice practise
    mold mould
    plow plough
    enroll enrol
    enrollment enrolment
    installment instalment
    fulfill fulfil
    draft draught
    story storey
    """
)

# Another way to say the same in a fixed number of words; what follows "=" is read instead.
# Courtesies, and the negations that deny nothing, are read as nothing.
PHRASES = """
could you please tell me= can you please tell me= could you tell me= can you tell me=
would you please= could you please= can you please= would you mind= would you kindly=
could somebody explain= could someone explain= can someone explain= can you explain=
please explain= explain= could you explain= can someone tell me= do you know= any idea=
please tell me= tell me= let me know= please let me know= show me= i want to know=
i was wondering if= i was wondering whether= i was wondering= i wonder if= i wonder whether=
i am wondering= wondering if= wondering= i would like to know= i would love to know=
i'd like to know= i'd love to know= i need to know= i want to ask= i wanted to ask= may i ask=
can i ask= could i ask= just wondering= quick question= sorry to bother you= excuse me= sorry=
good morning= good afternoon= good evening= good day= hi there= thank you= thanks in advance=
many thanks= if possible= if you could= no rush= no worries= no problem= no hurry= not urgent=
not sure if= not sure how= not sure whether= not sure what= not sure where= not sure why=
i'm not sure= i am not sure= no idea how= no idea= don't know how= don't know if= don't know what=
don't know where= don't know why= do not know how= don't understand how= don't understand why=
if you don't mind= hope you don't mind= i hope you don't mind me asking= don't mind= do not mind=
why not just= why not= why don't you= if it's not too much trouble= if it is not too much trouble=
whether or not=whether or not= no matter= not only= if not too late= can't wait= at all= not just=
don't forget to= do not forget to=
at least=atleast at minimum=atleast at the least=atleast no less than=atleast
no fewer than=atleast not less than=atleast a minimum of=atleast minimum of=atleast
at most=atmost at the most=atmost no more than=atmost not more than=atmost up to=atmost
at maximum=atmost a maximum of=atmost maximum of=atmost
have to=must has to=must had to=must need to=must needs to=must obliged to=must required to=must
got to=must ought to=should allowed to=may permitted to=may able to=can
is going to=will are going to=will am going to=will gonna=will no longer=not
apart from=except other than=except aside from=except but not=except
free of=without free from=without lack of=without instead of=instead
prior to=before ahead of=before as soon as possible=asap
united states of america=usa united states=usa the us=usa the states=usa u s a=usa u s=usa
united kingdom=uk great britain=uk u k=uk european union=eu new york city=nyc new york=nyc
united arab emirates=uae human resources=hr value added tax=vat information technology=it
artificial intelligence=ai frequently asked questions=faq personal computer=computer
two factor=2fa e mail=email e mails=emails wi fi=wifi check book=checkbook credit note=creditnote
day after tomorrow=overmorrow every day=daily every week=weekly every month=monthly
every year=yearly per day=daily per week=weekly per month=monthly per year=yearly
cell phone=phone mobile phone=phone right now=now
"""

# Verb and particle, also with a few words between them, are one word.
PHRASAL_VERBS = """
log in=login sign in=login log on=login sign on=login log out=logout sign out=logout
log off=logout sign off=logout log into=login sign into=login
sign up=signup opt in=optin opt into=optin opt out=optout check in=checkin check out=checkout
clock in=clockin clock out=clockout punch in=clockin punch out=clockout
turn on=switchon switch on=switchon power on=switchon put on=switchon
turn off=switchoff switch off=switchoff power off=switchoff shut off=switchoff
turn up=turnup turn down=turndown speed up=speedup slow down=slowdown
zoom in=zoomin zoom out=zoomout scroll up=scrollup scroll down=scrolldown
set up=setup take down=takedown shut down=close plug in=plugin move in=movein move out=moveout
fill in=fill fill out=fill hand in=submit turn in=submit send in=submit
pick up=pickup drop off=dropoff get on=geton get off=getoff get in=getin get out=getout
back up=backup roll back=rollback roll out=rollout find out=discover
pay in=deposit pay out=payout cash in=cashin cash out=cashout
dial in=dialin call off=cancel put off=postpone bring forward=advance
top up=topup scale up=scaleup scale down=scaledown go up=goup go down=godown
"""

# Whose affair it is; words on one line are one person.
PEOPLE = {
    word: line.split("=")[0].strip()
    for line in """
        he or she=his her hers him he she himself herself
        they=their theirs them they themselves
        spouse=wife husband spouse partner fiance fiancee boyfriend girlfriend
        child=son daughter child baby toddler stepson stepdaughter
        parent=mother father parent parents mum mom dad
        grandparent=grandmother grandfather grandma grandpa granny grandparents
        sibling=brother sister sibling
        relative=uncle aunt cousin niece nephew
        friend=friend friends roommate flatmate housemate neighbour neighbor
        colleague=colleague colleagues coworker coworkers teammate
        superior=boss manager supervisor
    """.strip().splitlines()
    for word in line.split("=")[1].split()
}

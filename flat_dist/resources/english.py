"""English word lists that replace NLTK data, which no package has."""

import re

ALPHABETIC = re.compile("[a-z]+")
"""Words that may enter a table of neighbours: TextAttack 0.3.11 fails on candidates without letters."""

STOPWORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves who whom which what this that these those
a an the all any both each few more most other some such own same no
be am is are was were been being have has had having do does did doing can will should
of at by for with about against between into through during before after above below to from up down in out on off over
under until and but or nor if because as while than so
not only very too just again further then once here there when where why how now
s t d m o y ll re ve ma don ain aren couldn didn doesn hadn hasn haven isn mightn mustn needn shan shouldn wasn weren
won wouldn
i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've we'd we'll
they're they've they'd they'll that'll should've
don't aren't couldn't didn't doesn't hadn't hasn't haven't isn't mightn't mustn't needn't shan't shouldn't wasn't
weren't won't wouldn't
"""
"""English function words, by class: pronouns, determiners, auxiliaries, prepositions and conjunctions, adverbs,
pieces of contractions, contractions. As short as NLTK's list, so that attacks can change about the same words."""

UNIVERSAL_TAGS = {
    "ADJ": "JJ JJR JJS",
    "ADP": "IN",
    "ADV": "RB RBR RBS WRB",
    "CONJ": "CC",
    "DET": "DT EX PDT WDT",
    "NOUN": "NN NNP NNPS NNS",
    "NUM": "CD",
    "PRON": "PRP PRP$ WP WP$",
    "PRT": "POS RP TO",
    "VERB": "MD VB VBD VBG VBN VBP VBZ",
    "X": "FW LS SYM UH",
    ".": "# $ '' ( ) , -LRB- -RRB- . : ``",
}
"""Universal tags (Petrov, Das and McDonald 2012), and the Penn Treebank's tags for each."""

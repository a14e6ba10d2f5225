from slug import slug


def test_words_are_joined():
    assert slug("Hello, World 2") == "hello-world-2"


def test_nothing_remains_of_punctuation():
    assert slug("?!") == ""

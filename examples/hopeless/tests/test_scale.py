from scale import rounded


def test_shop_wants_the_lower_ten():
    assert rounded(15) == 10


def test_baker_wants_the_upper_ten():
    assert rounded(15) == 20

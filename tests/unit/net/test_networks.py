"""Networks answer as the module ipaddress does, for IPv4, IPv6 and what is mapped."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from host.net.networks import Networks

FOUR = st.integers(0, 2**32 - 1).map(IPv4Address)
SIX = st.integers(0, 2**128 - 1).map(IPv6Address)


def networks_of(addresses, longest):
    pairs = st.tuples(addresses, st.integers(0, longest))
    return pairs.map(lambda pair: str(ip_network(f"{pair[0]}/{pair[1]}", strict=False)))


ANY = st.lists(networks_of(FOUR, 32) | networks_of(SIX, 128), max_size=8)


@given(ANY, FOUR | SIX)
def test_an_address_is_in_one_of_them_or_not(texts, address):
    expected = any(address in ip_network(text) for text in texts)
    assert (str(address) in Networks(texts)) == expected


@example(["::/80"])
@given(ANY)
def test_the_first_and_the_last_address_are_in_it(texts):
    for network in map(ip_network, texts):
        for address in (network.network_address, network.broadcast_address):
            if getattr(address, "ipv4_mapped", None) is None:  # else it stands for another one
                assert str(address) in Networks(texts)


@pytest.mark.parametrize("host", ["::ffff:10.1.2.3", "10.1.2.3"])
def test_a_mapped_address_is_the_one_that_it_stands_for(host):
    assert host in Networks(["10.0.0.0/8"])
    assert host not in Networks(["::/0", "11.0.0.0/8"])


def test_a_scope_does_not_matter():
    assert "fe80::1%eth0" in Networks(["fe80::/10"])
    assert ip_address("fe80::1%eth0") in ip_network("fe80::/10")


def test_there_may_be_none():
    assert not Networks([])
    assert "10.0.0.1" not in Networks([])


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "nowhere", ""])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Networks([text])

"""A page is read right whatever its layout, and two pages are equal only if their rows are."""

from __future__ import annotations

import pytest

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.page import Page

AWS = """<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag>\
<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>{size}</Size>\
<StorageClass>STANDARD_IA</StorageClass></Contents>"""
SEAWEED = """<Contents><Key>{key}</Key><ETag>&#34;{etag}&#34;</ETag><Size>{size}</Size>\
<StorageClass>STANDARD_IA</StorageClass><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"""
UNUSUAL = """<Contents>
  <Size>{size}</Size><Owner><ID>x</ID></Owner><Key>{key}</Key><StorageClass>STANDARD_IA</StorageClass>
  <ETag>"{etag}"</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"""
LAYOUTS = pytest.mark.parametrize("layout", [AWS, SEAWEED, UNUSUAL], ids=["aws", "seaweed", "unusual"])
ETAGS = ["0" * 32, "abc" + "1" * 29, "d41d8cd98f00b204e9800998ecf8427e-7"]


def page(layout: str, keys: list[str], *, encoded: bool = True, more: bool = False, root: int = 0) -> Page:
    contents = "".join(
        layout.format(key=key, etag=ETAGS[n % 3], size=n * 1000) for n, key in enumerate(keys, start=1)
    )
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{contents}"
        f"{'<EncodingType>url</EncodingType>' if encoded else ''}</ListBucketResult>"
    )
    return Page.of(body.encode(), root, "s3://bucket/")


@LAYOUTS
def test_rows_of_any_layout(layout: str) -> None:
    found = page(layout, ["a", "b%2Bc", "d+e/%C3%A4", "f%26amp%3B"])
    assert found.count() == 4
    assert found.rows() == [
        (b"a", ETAGS[1].encode(), b"1000"),
        (b"b+c", ETAGS[2].encode(), b"2000"),
        ("d e/ä".encode(), ETAGS[0].encode(), b"3000"),
        (b"f&amp;", ETAGS[1].encode(), b"4000"),
    ]
    assert found.last() == b"f&amp;"
    [(key, seen)] = found.seen({b"b+c"}).items()
    assert (key, seen.bytes, seen.etag, seen.storage_class) == (b"b+c", 2000, ETAGS[2], "STANDARD_IA")
    assert str(seen.modified) == "2026-01-02 03:04:05+00:00"


@LAYOUTS
def test_a_server_that_does_not_encode_keys(layout: str) -> None:
    found = page(layout, ["a%2Bb", "c+d", "e&amp;amp;f", "g&lt;h"], encoded=False)
    assert [row[0] for row in found.rows()] == [b"a%2Bb", b"c+d", b"e&amp;f", b"g<h"]
    assert found.last() == b"g<h"


@pytest.mark.parametrize("layout", [AWS, SEAWEED], ids=["aws", "seaweed"])
def test_sampled_rows_are_those_whose_etag_begins_so(layout: str) -> None:
    keys = [f"k{n:03d}" for n in range(30)]
    found = page(layout, keys)
    wanted = [row for row in found.rows() if row[1].startswith(b"abc")]
    assert len(wanted) == 10
    assert found.sampled(b"abc") == wanted
    assert found.sampled(b"abcd") == []


def test_equal_rows_are_equal_whatever_stands_around_them() -> None:
    keys = ["a", "b"]
    one, two = page(AWS, keys), page(AWS, keys)
    two = Page.of(two.body.replace(b"<IsTruncated>", b"<Name>other</Name><IsTruncated>"), 0, "")
    assert one.same_rows(two)
    for other in (
        page(AWS, ["a", "c"]),
        page(AWS, ["a"]),
        page(AWS, [*keys, "c"]),
        page(AWS, keys, more=True),
    ):
        assert not one.same_rows(other)
        assert not other.same_rows(one)
    assert not one.same_rows(page(AWS, keys, encoded=False)), "the same bytes may stand for other keys"
    assert not one.same_rows(page(AWS, keys, root=1)), "below another root they are other keys"


def test_an_empty_page() -> None:
    found = page(AWS, [])
    assert (found.count(), found.rows(), found.more) == (0, [], False)
    assert found.same_rows(page(AWS, []))


def test_what_is_no_whole_page_is_refused() -> None:
    whole = page(AWS, ["a", "b"]).body
    for body in (b"", b"<html>sign in</html>", whole[:-30], whole[40:]):
        with pytest.raises(UnknownError):
            Page.of(body, 0, "s3://bucket/")
    with pytest.raises(UnknownError, match="stops"):
        page(AWS, [], more=True)

import pytest

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.secret import has_password, without_secrets


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a.zip", "https://h/a.zip"),
        ("https://h/a.zip?download=true&id=7", "https://h/a.zip?download=true&id=7"),
        ("https://h/a?id=7&token=s3cr3t", "https://h/a?id=7"),
        ("https://h/a?api_key=s3cr3t", "https://h/a"),
        ("https://me:pw@h:8/a?x=1", "https://h:8/a?x=1"),
        ("https://me@h/a", "https://h/a"),
        ("https://h/@me/a", "https://h/@me/a"),
        ("https://h/get?key=photos/1.jpg", "https://h/get?key=photos/1.jpg"),
        ("https://h/get?key=AIzaSy", "https://h/get"),
        ("https://h/a?author=me&tokenizer=x&keyword=y", "https://h/a?author=me&tokenizer=x&keyword=y"),
        # as S3, Azure, CloudFront and Google sign: what is signed along goes too, but only where something is signed
        ("https://b/a?X-Amz-Algorithm=AWS4&X-Amz-Date=2026&X-Amz-Signature=f00&versionId=3", "https://b/a?versionId=3"),
        ("https://b/a?AWSAccessKeyId=AK&Expires=17&Signature=f00", "https://b/a"),
        ("https://b/a?sv=2024&se=2026-01-01&sr=b&sp=r&sig=f00%3D", "https://b/a"),
        ("https://b/a?Expires=17&Signature=f00&Key-Pair-Id=K1", "https://b/a"),
        ("https://b/a?X-Goog-Credential=c&X-Goog-Signature=f00", "https://b/a"),
        ("https://h/a?expires=17&se=x", "https://h/a?expires=17&se=x"),
        ("http://[broken?sig=f00", "http://[broken"),
        ("relative/1.jpg?sig=f00", "relative/1.jpg"),
        ("data/mine.json", "data/mine.json"),
        ("https://me:p/w@h/x", "https://h/x"),
        ("https://me:p#w?d@h/x", "https://h/x"),
        ("https://h:8080/@me/a", "https://h:8080/@me/a"),
        ("https://[::1]:80/@me", "https://[::1]:80/@me"),
        ("me:s3cr3t@h/x", "h/x"),
        ("//me:s3cr3t@h/x", "//h/x"),
        ("https://h/a?%74oken=s3cr3t&id=7", "https://h/a?id=7"),
        ("https://h/a?id=7;token=s3cr3t;page=2", "https://h/a?id=7;page=2"),
        ("https://h/a;token=s3cr3t/b;v=1", "https://h/a/b;v=1"),
        ("https://h/a?x=1#access_token=s3cr3t", "https://h/a?x=1"),
        ("https://h/a#part-2", "https://h/a#part-2"),
        ("https://h/f?code=0123456789abcdefghij&lang=en", "https://h/f?lang=en"),
        ("https://h/f?code=en", "https://h/f?code=en"),
        ("https://h/get?key=AIza.s3cr3tkey", "https://h/get"),
        ("https://h/a?hdnts=exp=17~acl=/*~hmac=f00", "https://h/a"),
        ("https://h/a?pass=s3cr3t&sas=x&session=y", "https://h/a"),
        ("https://h/go?url=https%3A%2F%2Fme%3As3cr3t%40h2%2Fx", "https://h/go?url=https%3A%2F%2Fh2%2Fx"),
        ("https://h/go?url=https://h2/x&y=1", "https://h/go?url=https://h2/x&y=1"),
    ],
)
def test_a_url_is_kept_without_what_lets_its_reader_in(url, kept):
    assert without_secrets(url) == kept


@pytest.mark.parametrize(
    ("url", "found"), [("http://a:b@h/", True), ("s3://k@b/x", True), ("http://h/a@b", False), ("a@b", False)]
)
def test_a_password_stands_before_the_host(url, found):
    assert has_password(url) is found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("recipe 'https://me:pw@h/x?token=s3cr3t&id=7': no such file", "recipe 'https://h/x?id=7': no such file"),
        (
            "https://h/a?sig=f00: not there; see https://docs/b?page=2.",
            "https://h/a: not there; see https://docs/b?page=2.",
        ),
        ("{'url': 'https://u:hunter2@h/x'} = 3", "{'url': 'https://h/x'} = 3"),
        ("nothing of a URL: a?b=c", "nothing of a URL: a?b=c"),
    ],
)
def test_no_error_shows_what_lets_its_reader_in_wherever_a_url_stands_in_it(text, shown):
    assert str(BadInput(text)) == shown


def test_an_unknown_name_that_is_a_url_is_shown_without_its_password():
    assert "hunter2" not in str(unknown("recipe", "https://u:hunter2@h/x?token=hunter2", ["base"]))

"""What stands under a key such as api_key is written nowhere, whatever its type and however it was typed."""

import pytest
from commands import QUICK, composed

from diffexp.redact import redact, redact_typed, secret
from diffexp.tasks.run import run_job

SECRETS = [
    "+extra.token.value=hush-hush", "+extra.api_key_1=hush-hush", "+extra.accessKeyId=hush-hush",
    "+extra.headers={Authorization: hush-hush}", "+extra.cookie=hush-hush", "+extra.keys=[hush-hush]",
    "+extra.a=https://user:p@hush-hush@host.example/x", "+extra.b=https://user:hush-hush/x@host.example",
    "+extra.c=user:hush-hush@host.example", "+extra.d='https://host.example?token=hush-hush'",
    "+extra.e='run --api-key=hush-hush'", "+extra.f={my key: hush-hush}", "+extra.g={a: [{pw: hush-hush}]}",
    "+extra.api_key=hush-hush", "+extra.password=12345678", "+extra.tokens.token=[hush-hush]",
    "+extra.all={api_key: hush-hush}", "+extra.nested={deep: {secret: hush-hush}}",
    "+extra.url=https://user:hush-hush@host.example/x", "+extra.openaiApiKey=hush-hush",
]  # fmt: skip


def test_secrets_of_every_type_are_in_no_file(tmp_path):
    folder = tmp_path / "run"
    overrides = [*QUICK, f"dir={folder}", *SECRETS]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            text = path.read_bytes()
            assert b"hush-hush" not in text and b"12345678" not in text, path
    told = (folder / "config.yaml").read_text()
    assert "https://***@host.example/x" in told and "api_key: '***'" in told


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ('+extra.note="key: five"', None), ("+extra.token=true", None), ("network.token=5", None),
        ("x.max_tokens=77", None), ("data.path=/a/b@c", None), ("x=git@github.com:a/b", None),
        ("t=10:30", None), ("x={a: {key: {b: c}}, d: 1}", "x={a: {key: ***}, d: 1}"),
        ("+extra={api_key: abc, other: 3}", "+extra={api_key: ***, other: 3}"),
        (r"u=https\://bob\:hush@host/x", r"u=https\://***@host/x"), (r"u=a?token\=hush", r"u=a?token\=***"),
        ('h="Authorization: Bearer hush"', 'h="Authorization: Bearer ***"'),
        ("auth_header=hush", "auth_header=***"),
        ("x=[{api_key: 's,ec'},2]", "x=[{api_key: ***},2]"),
    ],
)  # fmt: skip
def test_what_is_typed_is_shown_but_for_its_secrets(typed, shown):
    assert redact_typed([typed]) == [shown or typed]


def test_what_only_looks_like_a_secret_is_kept():
    for key in ("token_dim", "keyframes", "monkey", "t_oken", "author", "passes", "keypoints"):
        assert not secret(key), key
    for key in ("key", "api_key", "WANDB_API_KEY", "dbPassword", "access-token", "hf_token", "client_secret",
                "a.b.api_keys", "aws_secret_access_key", "passphrase", "privateKey", "auth"):  # fmt: skip
        assert secret(key), key
    assert redact({"max_tokens": 77, "token": None, "a": ["http://u@h"]}) == {
        "max_tokens": 77, "token": None, "a": ["http://***@h"],
    }  # fmt: skip
    assert redact_typed(["~api_key", "seed=1", "x={a: 1}"]) == ["~api_key", "seed=1", "x={a: 1}"]

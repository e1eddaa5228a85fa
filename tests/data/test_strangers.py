"""Folders that somebody else has filled: pictures that are programs, pipes, links out of them."""

import json
import logging
import os
import shutil
import socket
import stat
import subprocess

import pytest
from PIL import Image
from test_folder import greys, paint

from diffexp.data import MNIST, Folder, Npz
from diffexp.data.regular import typed_path
from diffexp.errors import ConfigError, DataError

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def folder(tmp_path):
    """Nine good images, in a folder beside which other things may lie."""
    paint(tmp_path / "data", [f"{i}.png" for i in range(9)])
    return tmp_path / "data"


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret.txt").write_text("a private word")
    return tmp_path / "secret.txt"


def all_batches(data):
    data.check()
    return [batch for split in ("train", "val", "test") for batch in data.batches(split, 4)]


@pytest.mark.parametrize("stream", [False, True])
def test_postscript_that_calls_itself_a_picture_is_not_run(folder, tmp_path, monkeypatch, stream):
    """Pillow would start Ghostscript on it; here a program of that name leaves a mark."""
    (tmp_path / "bin").mkdir()
    gs = tmp_path / "bin" / "gs"
    gs.write_text(f"#!/bin/sh\ntouch {tmp_path / 'it_ran'}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for once in a process
    (folder / "4.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match=r"4\.png") as error:
        all_batches(Folder(str(folder), 4, stream=stream))
    assert "not an image of BMP, GIF, JPEG" in error.value.what and not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "MPO"])
def test_what_is_read_goes_by_what_it_is_and_not_by_its_name(tmp_path, kind):
    more = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]} if kind == "MPO" else {}
    Image.new("RGB", (8, 8), (90, 90, 90)).save(tmp_path / "a.png", kind, **more)
    assert abs(int(Folder(str(tmp_path), 8, mode="L").split("train").images[0, 0, 0, 0]) - 90) <= 1


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("name", ["z.png", "metadata.jsonl", "metadata.csv"])
def test_a_pipe_or_a_socket_is_not_waited_for(folder, monkeypatch, kind, name):
    monkeypatch.chdir(folder)
    if kind == "pipe":
        os.mkfifo(name)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    with pytest.raises(DataError, match=r"this is a pipe|No such device") as error:
        Folder(str(folder), 4).check()
    assert error.value.where == str(folder / name)
    if name == "z.png":
        data = Folder(str(folder), 4, mode="L", broken="skip")
        assert sorted(grey for s in ("train", "val", "test") for grey in greys(data.split(s))) == list(
            range(9)
        )


def test_a_caption_that_is_a_pipe_is_not_waited_for(folder):
    for i in range(9):
        (folder / f"{i}.txt").write_text("a caption")
    (folder / "3.txt").unlink()
    os.mkfifo(folder / "3.txt")
    with pytest.raises(DataError, match=r"no caption[\s\S]*3\.png"):
        Folder(str(folder), 4).check()


def link_of(folder, secret, name):
    """A folder in which `name` leads out of it."""
    for i in range(9):
        (folder / f"{i}.txt").write_text(f"caption {i}")
    rows = [json.dumps({"file_name": f"{i}.png", "text": f"row {i}"}) for i in range(9)]
    secret.write_text("\n".join(rows) if name == "metadata.jsonl" else "a private word")
    if name.endswith(".png"):
        paint(secret.parent, ["elsewhere.png"])
        secret = secret.parent / "elsewhere.png"
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(os.path.relpath(secret, folder))
    return secret


@pytest.mark.parametrize("name", ["3.png", "3.txt", "metadata.jsonl"])
def test_a_link_out_of_the_folder_is_refused_by_name_and_followed_on_request(folder, secret, name):
    goal = link_of(folder, secret, name)
    with pytest.raises(DataError, match="this is a link out of the folder") as error:
        Folder(str(folder), 4).check()
    assert error.value.where == str(folder / name) and str(goal) in error.value.what
    assert "data.links=follow" in error.value.do
    texts = Folder(str(folder), 4, links="follow").texts
    assert texts is not None and texts[3] == {"3.png": "caption 3", "3.txt": "a private word"}.get(
        name, "row 3"
    )


@pytest.mark.parametrize("skip", ["error", "skip"])
def test_a_link_that_leads_nowhere_or_to_itself(folder, skip, tmp_path):
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("not_there.png")
    data = Folder(str(folder), 4, broken=skip)
    stream = Folder(str(folder), 4, broken=skip, stream=True)
    assert len(stream.fingerprint("train")) == 64
    if skip == "skip":
        assert sum(len(data.split(s)) for s in ("train", "val", "test")) == 9
        return
    with pytest.raises(DataError, match=r"gone\.png|loop\.png"):
        data.check()
    (folder / "out.png").symlink_to(tmp_path / "not_there.png")
    with pytest.raises(DataError, match="a link out of the folder"):
        Folder(str(folder), 4, broken="skip").check()


def test_links_inside_of_a_folder_and_a_folder_that_is_a_link_work(folder, tmp_path):
    (folder / "sub").mkdir()
    (folder / "sub" / "9.png").symlink_to("../3.png")
    (folder / "again").symlink_to("sub")  # a folder that is there already is not read twice
    (tmp_path / "link").symlink_to("data")
    for path in (folder, tmp_path / "link"):
        for links in ("refuse", "follow"):
            data = Folder(str(path), 4, mode="L", label="none", links=links)
            assert [f.name for f in data.files] == [f"{i}.png" for i in range(9)] + ["9.png"]
            assert sorted(g for s in ("train", "val", "test") for g in greys(data.split(s))) == [
                0, 1, 2, 3, 3, 4, 5, 6, 7, 8,
            ]  # fmt: skip


def test_a_folder_made_of_links_is_read_on_request(folder, tmp_path, caplog):
    """Links to files and to folders; a loop is walked once, and no image is there twice."""
    farm = tmp_path / "farm"
    (farm / "some").mkdir(parents=True)
    for i in range(3):
        (farm / "some" / f"{i}.png").symlink_to(folder / f"{i}.png")
    (farm / "whole").symlink_to(folder)
    (farm / "up").symlink_to(farm)
    (farm / "some" / "up").symlink_to("..")
    (folder / "back").symlink_to(farm)
    data = Folder(str(farm), 4, links="follow")
    assert data.classes == ("some", "whole") and [len(data.files), data.counts("test")["some"]] == [12, 0]
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="a link out of the folder"):
        Folder(str(farm), 4).check()
    assert f"whole is a link to the folder {folder}; links=follow reads it" in caplog.text
    assert caplog.text.count("is a link to the folder") == 1  # those inside are no news


def test_a_tree_deeper_than_the_stack_of_python_is_walked(tmp_path):
    paint(tmp_path, ["a.png", "b.png", "c.png"])
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1000):  # os.walk of Python 3.11 calls itself for each
            os.mkdir("d", dir_fd=here)
            there = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = there
        assert len(Folder(str(tmp_path), 4).files) == 3
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # shutil.rmtree cannot


def test_a_folder_that_may_not_be_read_is_said_to_be_left_out(folder, caplog, monkeypatch):
    (folder / "lost+found").mkdir()
    real = os.scandir

    def refused(path):
        if os.fspath(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with caplog.at_level(logging.WARNING):
        assert len(Folder(str(folder), 4).files) == 9
    assert "lost+found (Permission denied)" in caplog.text


@pytest.mark.parametrize(
    ("name", "told"),
    [("metadata.jsonl", "than 1024 MB"), ("metadata.csv", "than 1024 MB"), ("3.txt", "than 1 MB")],
)
def test_a_text_of_gigabytes_is_refused_unread(folder, name, told):
    """Of zeros, which take no place on the disk."""
    for i in range(9):
        (folder / f"{i}.txt").write_text("a caption")
    with (folder / name).open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(DataError, match=told) as error:
        Folder(str(folder), 4).check()
    assert error.value.where == str(folder / name)


def test_names_that_are_no_utf_8_are_files_and_no_classes(folder):
    strange = os.fsencode(folder) + b"/\xff"
    os.mkdir(strange)
    shutil.copy(folder / "0.png", strange + b"/\xfe.png")
    for stream in (False, True):
        data = Folder(str(folder), 4, label="none", stream=stream)
        assert len(data.files) == 10 and len(data.fingerprint("train")) == 64
    (folder / "good").mkdir()
    for i in range(9):
        (folder / f"{i}.png").rename(folder / "good" / f"{i}.png")
    with pytest.raises(DataError, match="is no UTF-8"):
        Folder(str(folder), 4).check()


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~nobody_of_that_name/x"])
def test_what_can_be_no_path_is_refused(path):
    for make in (lambda: Folder(path, 8), lambda: Npz(path), lambda: MNIST(path), lambda: Npz("a", path)):
        with pytest.raises(ConfigError, match="is no path"):
            make()
    assert typed_path("~", "data.path").is_dir()


def test_what_is_logged_of_names_does_nothing_to_a_terminal(folder, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    (folder / "a\x1b[2Jb").symlink_to(tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        assert len(Folder(str(folder), 4).files) == 9
    assert "\\x1b[2J" in caplog.text and "\x1b" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_images_that_are_all_equal_are_said_to_be(tmp_path, caplog, stream):
    for i in range(40):
        Image.new("L", (8, 8), 7).save(tmp_path / f"{i}.png")
    with caplog.at_level(logging.WARNING):
        Folder(str(tmp_path), 4, stream=stream).check()
    assert f"all images of {tmp_path.name}-4 (train, val, test) are one and the same" in caplog.text
    caplog.clear()
    paint(tmp_path, [f"{i}.png" for i in range(40)])
    with caplog.at_level(logging.WARNING):
        Folder(str(tmp_path), 4, stream=stream).check()
    assert caplog.text == ""


def test_a_device_is_no_picture(tmp_path):
    from diffexp.data.fitted import Fit

    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="this is a pipe, a device or a folder"):
        Fit("RGB", 10_000)(tmp_path / "zero.png", (8, 8))

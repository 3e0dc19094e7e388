"""Daily drops: a watched folder and a bucket are read by themselves, once for each version of a file."""

import os
import time

import pytest
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.kit.errors import BadCredentials, TryLater, VendorError
from integrations.models import Customer, StreamState, SyncRun, Upload, UploadState
from integrations.pulling import Pull
from integrations.uploads import running
from tests.factories import make_account
from tests.integrations.files.bucket import Store
from tests.integrations.files.sheets import CUSTOMERS, read, sent_and_read

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account()


def connect(account, **given):
    link = services.connection_of(account_id=account.pk, slug="files")
    credential = services.save_credential(connection=link, given={"source": "Old till", **given})
    services.connect(credential=credential, now=timezone.now())
    credential.refresh_from_db()
    return credential


def look(credential) -> SyncRun:
    state = StreamState.unscoped.get(credential=credential)
    run = services.enqueue_run(state=state, enqueue=None)
    while services.run_slice(run.pk):
        pass
    return SyncRun.unscoped.get(pk=run.pk)


def read_all() -> None:
    handed: list[int] = []
    running.dispatch_due(enqueue=handed.append)
    for pk in handed:
        read(Upload.unscoped.get(pk=pk))


class TestFolder:
    @pytest.fixture
    def folder(self, account, settings, tmp_path):
        settings.FILES_ROOT = str(tmp_path)
        mine = tmp_path / account.uid / "daily"
        mine.mkdir(parents=True)
        return mine

    @staticmethod
    def put(folder, name, text, age=60):
        (folder / name).write_text(text)
        os.utime(folder / name, (time.time() - age,) * 2)

    def test_a_file_with_known_columns_is_read_by_itself_once(self, account, folder):
        sent_and_read(account, CUSTOMERS)
        credential = connect(account, folder="daily")
        self.put(folder, "customers-1.csv", CUSTOMERS.replace("C-", "D-"))
        assert look(credential).status == "done"
        read_all()
        dropped = Upload.unscoped.get(came="folder")
        assert (dropped.state, dropped.rows_new, dropped.name) == (UploadState.DONE, 3, "customers-1.csv")
        look(credential)
        assert Upload.unscoped.filter(came="folder").count() == 1
        self.put(folder, "customers-1.csv", CUSTOMERS.replace("C-", "D-").replace("Ada", "Adelaide"), age=30)
        look(credential)
        read_all()
        assert Upload.unscoped.filter(came="folder").count() == 2
        assert Customer.unscoped.get(external_id="D-1").first_name == "Adelaide"

    @pytest.mark.parametrize("where", ["credential", "connection"])
    def test_what_was_fetched_waits_while_its_place_is_frozen(self, account, folder, where):
        sent_and_read(account, CUSTOMERS)
        credential = connect(account, folder="daily")
        self.put(folder, "customers-1.csv", CUSTOMERS.replace("C-", "D-"))
        look(credential)
        thing = {where: credential if where == "credential" else credential.connection}
        with acting_in(account.pk):
            services.freeze(**thing, now=timezone.now())
        read_all()
        self.put(folder, "customers-2.csv", CUSTOMERS.replace("C-", "F-"))
        look(credential)  # nor is the place looked at
        dropped = Upload.unscoped.get(came="folder")
        assert dropped.state == UploadState.QUEUED and "Use last backup" in dropped.message
        assert not Customer.unscoped.filter(external_id__startswith="D-").exists()
        # What somebody sends by hand is his own word.
        assert sent_and_read(account, CUSTOMERS.replace("C-", "E-")).state == UploadState.DONE
        with acting_in(account.pk):
            services.unfreeze(**thing, now=timezone.now())
        read(dropped)
        assert (dropped.state, dropped.message, dropped.rows_new) == (UploadState.DONE, "", 3)

    def test_a_file_with_unknown_columns_waits(self, account, folder):
        credential = connect(account, folder="daily")
        self.put(folder, "customers.csv", CUSTOMERS)
        look(credential)
        read_all()
        assert Upload.unscoped.get().state == UploadState.CHOOSING and not Customer.unscoped.exists()

    def test_what_is_not_whole_yet_or_no_table_is_left(self, account, folder):
        credential = connect(account, folder="daily")
        self.put(folder, "fresh.csv", CUSTOMERS, age=0)
        self.put(folder, ".hidden.csv", CUSTOMERS)
        self.put(folder, "photo.jpg", "x")
        (folder / "link.csv").symlink_to("/etc/passwd")
        look(credential)
        assert not Upload.unscoped.exists()

    def test_one_that_cannot_be_read_is_kept_with_a_sentence_and_holds_up_no_other(self, account, folder):
        credential = connect(account, folder="daily")
        self.put(folder, "a.csv", "")
        self.put(folder, "b.csv", "a\x00b", age=50)
        self.put(folder, "c.csv", CUSTOMERS, age=40)
        look(credential)
        assert list(Upload.unscoped.order_by("name").values_list("state", "message")) == [
            ("failed", "The file is empty."), ("failed", "This is not a table: send CSV or XLSX."), ("choosing", ""),
        ]  # fmt: skip

    @pytest.mark.parametrize("folder_name", ["../daily", "/etc", "daily/../../x", "~", "elsewhere"])
    def test_nobody_gets_out_of_his_own_folder(self, account, folder, folder_name):
        with pytest.raises(BadCredentials):
            connect(account, folder=folder_name)

    def test_a_link_out_of_the_root_leads_nowhere(self, account, folder, tmp_path_factory):
        (folder.parent / "out").symlink_to(tmp_path_factory.mktemp("other"))
        with pytest.raises(BadCredentials, match="no folder"):
            connect(account, folder="out")

    def test_another_account_has_another_folder(self, folder):
        with pytest.raises(BadCredentials, match="no folder"):
            connect(make_account("Other Co"), folder="daily")

    def test_without_a_root_there_are_no_folders(self, account, settings):
        settings.FILES_ROOT = ""
        with pytest.raises(BadCredentials, match="watches no folder"):
            connect(account, folder="daily")

    def test_cut_off_in_the_middle_it_is_fetched_on(self, account, folder, monkeypatch):
        credential = connect(account, folder="daily")
        text = CUSTOMERS + "".join(f"X-{n},P{n},Q,,p{n}@example.test,,BC\n" for n in range(9000))
        self.put(folder, "customers.csv", text)
        real, saved = Pull._save_progress, []
        monkeypatch.setattr("integrations.pulling.ROWS_TOGETHER", 1)

        def dies(self, *args, **options):
            saved.append(1)
            if len(saved) == 3:
                raise KeyboardInterrupt
            return real(self, *args, **options)

        monkeypatch.setattr(Pull, "_save_progress", dies)
        state = StreamState.unscoped.get(credential=credential)
        run = services.enqueue_run(state=state, enqueue=None)
        with pytest.raises(KeyboardInterrupt):
            services.run_slice(run.pk)
        state.refresh_from_db()
        assert state.cursor["at"]["start"] == 2 * 64 * 1024
        SyncRun.unscoped.update(lease_until="2026-01-01T00:00:00Z")
        services.run_slice(run.pk)
        upload = Upload.unscoped.get()
        assert (upload.state, upload.size) == (UploadState.CHOOSING, len(text.encode()))


class TestBucket:
    @pytest.fixture
    def store(self):
        store = Store()
        yield store
        store.stop()

    @staticmethod
    def given(store, **more):
        return {"endpoint": store.url, "bucket": "drops", "prefix": "daily/", "access_key": store.key,
                "secret_key": store.secret} | more  # fmt: skip

    def test_files_are_read_once_for_each_version(self, account, store):
        sent_and_read(account, CUSTOMERS)
        store.objects = {f"daily/customers-{n}.csv": CUSTOMERS.replace("C-", f"{n}-").encode() for n in range(5)}
        store.objects |= {"other/customers.csv": b"x", "daily/readme.md": b"x"}
        credential = connect(account, **self.given(store))
        look(credential)
        read_all()
        dropped = Upload.unscoped.filter(came="bucket")
        assert [u.state for u in dropped] == [UploadState.DONE] * 5 and sum(u.rows_new for u in dropped) == 15
        before = len(store.calls)
        look(credential)
        assert not [path for path, _ in store.calls[before:] if path.endswith(".csv")]
        store.objects["daily/customers-0.csv"] += b"0-9,Zed,Last,,z@example.test,,BC\n"
        look(credential)
        read_all()
        assert Customer.unscoped.filter(external_id="0-9").exists()

    def test_two_places_with_long_names_are_two_files(self, account, store):
        sent_and_read(account, CUSTOMERS)
        deep = "daily/" + "/".join(["d" * 200] * 4)  # a bucket's names may have 1,024 bytes
        store.objects = {f"{deep}/customers-{n}.csv": CUSTOMERS.replace("C-", f"{n}-").encode() for n in range(3)}
        credential = connect(account, **self.given(store))
        look(credential)
        read_all()
        dropped = Upload.unscoped.filter(came="bucket")
        assert [u.state for u in dropped] == [UploadState.DONE] * 3 and sum(u.rows_new for u in dropped) == 9
        look(credential)
        assert dropped.count() == 3

    @pytest.mark.parametrize(
        ("change", "setting"),
        [({"access_key": "AKIAOTHER"}, "access_key"), ({"secret_key": "wrong"}, "secret_key"),
         ({"bucket": "other"}, "bucket"), ({"access_key": ""}, "access_key"), ({"folder": "x"}, "folder")],
    )  # fmt: skip
    def test_what_is_wrong_is_said_at_its_field(self, account, store, change, setting):
        with pytest.raises(BadCredentials) as refused:
            connect(account, **self.given(store, **change))
        assert refused.value.setting == setting and refused.value.message.endswith(".")
        assert store.secret not in str(refused.value) + refused.value.detail

    @pytest.mark.parametrize("fault", ["SlowDown", "InternalError", "redirect"])
    def test_a_fault_of_the_store_loses_nothing(self, account, store, fault):
        credential = connect(account, **self.given(store))
        store.objects = {"daily/customers.csv": CUSTOMERS.encode()}
        store.fail = fault
        assert look(credential).status == "failed"
        store.fail = ""
        assert look(credential).status == "done" and Upload.unscoped.get().state == UploadState.CHOOSING

    def test_nobody_there(self, account, store):
        store.stop()
        with pytest.raises(TryLater):
            connect(account, **self.given(store))

    @pytest.mark.parametrize(
        "endpoint",
        ["http://127.0.0.1:9000", "https://localhost", "https://10.0.0.5", "https://169.254.169.254", "https://[::1]",
         "https://2130706433", "http://s3.example.com", "https://user:pass@s3.example.com", "https://metadata.internal"],
    )  # fmt: skip
    def test_inner_addresses_are_refused(self, account, store, settings, endpoint):
        settings.ALLOW_LOOPBACK_ADDRESSES = False
        with pytest.raises(VendorError) as refused:
            connect(account, **self.given(store, endpoint=endpoint))
        assert isinstance(refused.value, BadCredentials) and refused.value.setting == "endpoint"
        assert not store.calls

"""File drop's pages: a file is sent, its columns chosen, read; and who may do it."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.roles import Role
from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Customer, Origin, Upload, UploadState
from loyalty import jobs
from loyalty.models import Job
from tests.factories import make_account, make_user
from tests.integrations.files.sheets import CUSTOMERS, read

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def client(client, account):
    client.force_login(make_user(account))
    return client


def send(client, data=CUSTOMERS, *, name="customers.csv", source="Old till", kind=""):
    data = data.encode() if isinstance(data, str) else data
    return client.post(reverse("admin:files"), {"file": SimpleUploadedFile(name, data), "source": source, "kind": kind})


def act(client, upload, verb, **data):
    return client.post(reverse("admin:file-act", args=[upload.pk, verb]), data)


def page(client, upload) -> str:
    return client.get(reverse("admin:file", args=[upload.pk])).content.decode()


def test_a_file_is_sent_looked_at_read_and_its_errors_downloaded(client):
    answer = send(client, CUSTOMERS + ",,,,,,\nC-4,Di,Elm,1,x@y,99/99/9999,BC,too,many\n")
    upload = Upload.unscoped.get()
    assert answer.url == reverse("admin:file", args=[upload.pk])
    shown = page(client, upload)
    assert "Mobile Phone" in shown and "+16045550142" in shown and "as they would be understood" in shown
    assert "more cells than there are columns" in shown
    assert not Customer.unscoped.exists()
    mapping = {f"column-{at}": name for at, name in enumerate(upload.mapping.values())}
    act(client, upload, "begin", kind="customers", day_order="ymd", **mapping)
    assert "data-live" in page(client, upload)
    read(upload)
    shown = page(client, upload)
    assert "Refused rows" in shown and Customer.unscoped.count() == 3
    table = b"".join(client.get(reverse("admin:file-errors", args=[upload.pk])).streaming_content).decode()
    assert table.startswith("\ufeffCustomer ID,First Name") and "Reason" in table.splitlines()[0]
    assert set(AuditLine.unscoped.values_list("act", flat=True)) >= {"file.sent", "file.read"}


def test_columns_are_chosen_and_what_is_wrong_is_said(client):
    send(client, "a,b\n1,6045550142\n", kind="customers")
    upload = Upload.unscoped.get()
    wrong = act(client, upload, "begin", kind="customers", **{"column-0": "phone", "column-1": "phone"})
    assert wrong.status_code == 422 and "is read from one column, not from" in wrong.content.decode()
    act(client, upload, "begin", kind="customers", **{"column-0": "external_id", "column-1": "phone"})
    upload.refresh_from_db()
    assert upload.state == UploadState.QUEUED


def test_another_kind_is_guessed_anew(client):
    send(client, "id,name,qty\n1,Gummies,4\n", kind="customers")
    upload = Upload.unscoped.get()
    act(client, upload, "choose", kind="inventory", **{"column-0": "external_id", "column-1": "name", "column-2": ""})
    upload.refresh_from_db()
    assert upload.mapping == {"id": "external_id", "name": "product", "qty": "quantity"}


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "Choose a file."), (b"\xd0\xcf\x11\xe0old", "old Excel file"), (b"PK\x03\x04nothing", "damaged"),
     (b"a\x00b", "not a table")],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_a_sentence(client, data, said):
    answer = send(client, data or b"", name="x.csv") if data else client.post(reverse("admin:files"), {"source": "x"})
    assert answer.status_code == 422 and said in answer.content.decode()
    assert not Upload.unscoped.exists()


def test_a_file_that_is_too_large_is_not_even_taken(client, settings):
    settings.FILES_MAX_MB = 0
    answer = send(client, b"a,b\n" + b"1,2\n" * 800_000)
    assert answer.status_code == 422 and "larger than 0 MB" in answer.content.decode()


def test_a_source_needs_a_name(client):
    assert "Give the source a name" in send(client, source="  ").content.decode()


def test_what_was_stopped_says_where_it_goes_on(client):
    send(client)
    upload = Upload.unscoped.get()
    mapping = {f"column-{at}": name for at, name in enumerate(upload.mapping.values())}
    act(client, upload, "begin", kind="customers", **mapping)
    act(client, upload, "stop")
    assert "Go on" in page(client, upload)
    act(client, upload, "resume")
    assert read(upload).state == UploadState.DONE
    act(client, upload, "again")
    upload.refresh_from_db()
    assert upload.state == UploadState.CHOOSING
    assert "The very same file" not in page(client, upload)
    act(client, upload, "put-away")
    upload.refresh_from_db()
    assert upload.state == UploadState.DISMISSED and upload.body_gone_at


@pytest.mark.parametrize(
    ("role", "sees", "sends"), [(Role.OPERATOR, 200, 302), (Role.ANALYST, 200, 403), (Role.STAFF, 403, 403)]
)
def test_who_may(client, account, role, sees, sends):
    send(client)
    upload = Upload.unscoped.get()
    client.force_login(make_user(account, role))
    assert client.get(reverse("admin:files")).status_code == sees
    assert send(client).status_code == sends
    assert client.get(reverse("admin:file", args=[upload.pk])).status_code == (200 if sends == 302 else 403)


def test_what_was_sent_by_hand_is_erased_by_its_source(client):
    send(client)
    upload = Upload.unscoped.get()
    mapping = {f"column-{at}": name for at, name in enumerate(upload.mapping.values())}
    act(client, upload, "begin", kind="customers", **mapping)
    read(upload)
    origin = upload.origin
    route = reverse("admin:files-erase", args=[origin.pk])
    assert f'href="{route}"' in client.get(reverse("admin:files")).content.decode()
    shown = client.get(route).content.decode()
    assert "Erase what Old till brought?" in shown and "3 erased" in shown
    assert client.post(route, {"act": "erase", "typed": "old till"}).status_code == 422
    assert client.post(route, {"act": "erase", "typed": "old-till"}).url == route
    assert "is being erased" in client.get(reverse("admin:files")).content.decode()
    assert "is being erased" in send(client).content.decode()
    job = Job.unscoped.get()
    while jobs.run_slice(job.pk):
        pass
    assert not Upload.unscoped.exists() and not Customer.unscoped.filter(erased_at=None).exists()
    shown = client.get(reverse("admin:files")).content.decode()
    assert "was erased on" in shown and f'href="{route}"' not in shown
    send(client)  # it brings something again, which can be erased again
    assert f'href="{route}"' in client.get(reverse("admin:files")).content.decode()


def test_only_an_owner_erases_and_only_a_source_of_files_of_the_account(client, account):
    send(client)
    route = reverse("admin:files-erase", args=[Upload.unscoped.get().origin_id])
    client.force_login(make_user(account, Role.OPERATOR))
    assert client.get(route).status_code == 403
    assert route not in client.get(reverse("admin:files")).content.decode()
    other = make_account()
    client.force_login(make_user(other))
    assert client.get(route).status_code == 404
    with acting_in(other.pk):
        cova = Origin.objects.create(platform="cova", identity="1")
    assert client.get(reverse("admin:files-erase", args=[cova.pk])).status_code == 404


@pytest.mark.parametrize("whole", [True, False])
def test_places_are_frozen_and_thawed_on_the_page(client, account, settings, tmp_path, whole):
    def shown():
        return client.get(reverse("admin:files")).content.decode()

    assert "Use last backup" not in shown()
    settings.FILES_ROOT = str(tmp_path)
    (tmp_path / account.uid / "daily").mkdir(parents=True)
    link = services.connection_of(account_id=account.pk, slug="files")
    credential = services.save_credential(connection=link, given={"source": "Old till", "folder": "daily"})
    services.connect(credential=credential, now=timezone.now())
    route = reverse("admin:card-freeze", args=["files"])
    if not whole:
        route = reverse("admin:card-credential-freeze", args=["files", credential.pk])
    assert f'href="{route}"' in shown() and "is read all the same" in shown()
    assert "fetched from a place" in shown() and "files-erase" not in shown()
    assert client.get(route).status_code == 200
    client.post(route, {"act": "freeze"})
    assert "Go on syncing" in shown() and ("Use last backup is on" if whole else "Frozen since") in shown()
    client.post(route, {"act": "unfreeze"})
    assert "Go on syncing" not in shown()

"""What a file may be about, what its columns can mean, and which column probably means what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IGNORE = ""


@dataclass(frozen=True)
class Column:
    """One meaning. `words`: headers it is known by, folded. `line`: belongs to a sale's line, not to the whole sale."""

    name: str
    label: str
    words: tuple[str, ...] = ()
    needed: bool = False
    line: bool = False
    help: str = ""


@dataclass(frozen=True)
class Kind:
    """`either`: at least one of these must be there. `stream`: under which its refused rows are kept."""

    name: str
    title: str
    what: str
    stream: str
    columns: tuple[Column, ...]
    either: tuple[str, ...] = ()
    days: tuple[str, ...] = ()  # columns that hold days
    fixed: bool = False  # the file has one writer and one form: nothing is to be mapped

    def column(self, name: str) -> Column:
        return next(one for one in self.columns if one.name == name)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(one.name for one in self.columns)


_ID = ("id", "customerid", "customernumber", "patientnumber", "patientid", "memberid", "clientid", "contactid",
       "customerno", "srcid", "guestid")  # fmt: skip
_PHONE = ("phone", "mobilephone", "mobile", "cell", "cellphone", "phonenumber", "telephone", "patientphonedefault",
          "customerphone", "primaryphone")  # fmt: skip
_EMAIL = ("email", "emailaddress", "mail", "patientemail", "customeremail", "primaryemail")
_NAME = ("name", "fullname", "patientname", "customername", "customer")
_PERSON = (
    Column("first_name", "First name", ("firstname", "first", "givenname", "forename")),
    Column("last_name", "Last name", ("lastname", "last", "surname", "familyname")),
    Column("name", "Whole name", _NAME, help="Split at its last blank, or at a comma: Moss, Ada."),
    Column("phone", "Phone", _PHONE),
    Column("email", "E-mail", _EMAIL),
    Column("birth_date", "Birth date", ("birthdate", "birthday", "dateofbirth", "dob", "patientage", "bday")),
    Column("street", "Street", ("street", "address", "address1", "streetaddress", "addressline1", "patientaddress")),
    Column("city", "City", ("city", "town", "locality")),
    Column("state", "State or province", ("state", "province", "region", "stateprovince")),
    Column("postal_code", "Postal code", ("postalcode", "zip", "zipcode", "postcode", "patientpostalcode")),
    Column("country", "Country", ("country", "countrycode")),
    Column("customer_type", "Medical or recreational", ("customertype", "patienttype", "type", "medrec")),
)

CUSTOMERS = Kind(
    "customers", "Customers", "One row a shopper.", "customers",
    (
        Column("external_id", "Customer id", _ID,
               help="Without it a row is known by its phone, then its e-mail, then its name and birth date."),
        *_PERSON,
        Column("do_not_contact", "Do not contact", ("donotcontact", "optout", "optedout", "explicitsmsoptout"),
               help="Yes and true mean: no messages. A blank is no permission either."),
        Column("government_id", "Licence number", ("driverslicense", "licence", "license", "licensenumber"),
               help="Only a digest is kept: it recognises, and nobody can read it."),
        Column("medical_id", "Medical id", ("medicalid", "mmjid", "medicalcard", "recommendationnumber")),
    ),
    either=("external_id", "phone", "email", "name", "first_name", "last_name"),
    days=("birth_date",),
)  # fmt: skip

SALES = Kind(
    "sales", "Sales", "One row a line of a sale; the rows of one sale follow each other.", "sales",
    (
        Column("external_id", "Transaction id", ("transactionid", "saleid", "orderid", "invoiceid", "receiptid",
               "transaction", "invoice", "order", "invoicenumber", "ordernumber", "salenumber"), needed=True),
        Column("sold_at", "Day or time of sale", ("transactiondate", "date", "soldat", "saledate", "orderdate",
               "datetime", "createdat", "time", "timestamp", "completedat", "closedat"), needed=True),
        Column("clock", "Time of day", ("completedtime", "timeofday", "saletime", "ordertime", "hour")),
        Column("original_id", "Refund of transaction", ("transactionrefundid", "refundof", "originalid",
               "originaltransactionid", "returnof")),
        Column("receipt", "Receipt number", ("receipt", "receiptnumber", "receiptno")),
        Column("location_id", "Location id", ("locationid", "storeid", "location", "store", "shop", "outlet")),
        Column("location_name", "Location name", ("facilityname", "locationname", "storename")),
        Column("customer_id", "Customer id", tuple(word for word in _ID if word != "id")),
        *(Column(one.name, f"Customer's {one.label.lower() if one.label != 'E-mail' else 'e-mail'}",
                 tuple(word for word in one.words if word not in ("address", "state", "type", "first", "last", "name")))
          for one in _PERSON),
        Column("employee", "Employee", ("employee", "budtender", "cashier", "employeename", "soldby", "staff")),
        Column("fulfilment", "Order type", ("ordertype", "fulfilment", "fulfillment", "channel")),
        Column("payments", "Payment method", ("payment", "paymentmethod", "tender", "paymenttype")),
        Column("currency", "Currency", ("currency", "currencycode")),
        Column("total", "Total of the sale, with tax", ("total", "ordertotal", "grandtotal", "saletotal",
               "totalpaid", "invoicetotal", "totalamount")),
        Column("tax", "Tax of the sale", ("tax", "ordertax", "totaltax", "salestax", "taxtotal")),
        Column("discount", "Discount on the whole sale", ("orderdiscount", "cartdiscount", "totaldiscount")),
        Column("product_id", "Item id", ("itemid", "productid", "catalogitemid", "variantid"), line=True),
        Column("sku", "SKU", ("sku", "itemsku", "barcode", "upc"), line=True),
        Column("product", "Item", ("productname", "product", "item", "itemname", "description"), line=True),
        Column("category", "Category", ("productcategoryname", "category", "productcategory", "department"), line=True),
        Column("brand", "Brand", ("vendorname", "brand", "vendor", "brandname", "producer"), line=True),
        Column("quantity", "Quantity", ("inventoryquantity", "quantity", "qty", "units", "count"), line=True),
        Column("unit_price", "Price of one, as sold", ("unitprice", "price", "itemprice", "soldprice"), line=True),
        Column("line_total", "Line, before tax, as sold", ("allocatedprice", "linetotal", "amount", "netamount",
               "lineamount", "net", "netsales"), line=True),
        Column("line_list", "Line, before discounts", ("aggproductsalessubtotal", "subtotal", "gross", "grosssales",
               "linesubtotal"), line=True),
        Column("line_discount", "Line's discount", ("productdiscount", "linediscount", "discount", "itemdiscount"),
               line=True),
        Column("line_tax", "Line's tax", ("allocatedtax", "linetax", "itemtax"), line=True),
        Column("line_cost", "Line's cost", ("cost", "linecost", "cogs", "costofgoods"), line=True),
    ),
    days=("sold_at", "birth_date"),
)  # fmt: skip

INVENTORY = Kind(
    "inventory", "Inventory", "One row a product, or a product at a location.", "products",
    (
        Column("external_id", "Item id", ("id", "itemid", "productid", "catalogitemid", "variantid", "posid")),
        Column("sku", "SKU", ("sku", "barcode", "upc", "itemsku")),
        Column("product", "Name", ("name", "product", "productname", "item", "itemname", "title", "description")),
        Column("category", "Category", ("category", "productcategory", "productcategoryname", "department")),
        Column("brand", "Brand", ("brand", "vendor", "vendorname", "brandname", "producer")),
        Column("unit", "Unit", ("unit", "uom", "unitofmeasure", "soldby")),
        Column("price", "Price", ("price", "unitprice", "retailprice", "saleprice", "regularprice")),
        Column("cost", "Cost", ("cost", "unitcost", "costprice", "wholesaleprice")),
        Column("quantity", "Quantity in stock", ("quantity", "qty", "stock", "onhand", "quantityonhand", "available",
               "inventory", "inventoryquantity", "qoh")),
        Column("location_id", "Location id", ("locationid", "storeid", "location", "store", "shop", "room")),
        Column("active", "Active", ("active", "enabled", "forsale", "published")),
    ),
    either=("external_id", "sku", "product"),
)  # fmt: skip

# AIQ's own export of personas (observed in one public importer, not documented by AIQ): the header is the mapping.
CONTACTS = Kind(
    "contacts", "AIQ contact export", "Shoppers with their AIQ points, from AIQ's console: Personas, Export.",
    "customers",
    (
        Column("contact_id", "AIQ contact id", ("contactid",), needed=True),
        Column("src_ids", "POS ids", ("srcids",)),
        Column("first_name", "First name", ("firstname",)),
        Column("last_name", "Last name", ("lastname",)),
        Column("email", "E-mail", ("email",)),
        Column("mobile_phone", "Mobile phone", ("mobilephone",)),
        Column("home_phone", "Home phone", ("homephone",)),
        Column("loyalty", "Loyalty member", ("loyalty",)),
        Column("loyalty_points", "Points", ("loyaltypoints",), needed=True),
        Column("loyalty_signup_time", "Member since", ("loyaltysignuptime",)),
        Column("total_spent_as_member", "Spent as a member", ("totalspentasmember",)),
        Column("count_of_sales", "Sales", ("countofsales",)),
    ),
    days=("loyalty_signup_time",), fixed=True,
)  # fmt: skip

KINDS = {kind.name: kind for kind in (CUSTOMERS, SALES, INVENTORY, CONTACTS)}


def folded(header: str) -> str:
    return re.sub(r"[^a-z0-9]", "", header.lower())


def guess_kind(header: Sequence[str], name: str = "") -> str:
    """The kind a file probably is, by its columns and then by its name; "" when nothing tells."""
    words = {folded(one) for one in header}
    if {"contactid", "srcids", "loyaltypoints"} <= words:
        return CONTACTS.name
    if {"contactid", "loyaltypoints"} <= words and ("loyalty" in words or "countofsales" in words):
        return CONTACTS.name
    if words & set(SALES.column("external_id").words) and words & set(SALES.column("sold_at").words):
        return SALES.name
    for kind in (SALES, INVENTORY, CUSTOMERS):
        if any(word in name.lower() for word in (kind.name.rstrip("s"), *_NAMES[kind.name])):
            return kind.name
    if words & {"sku", "quantity", "qty", "onhand", "quantityonhand", "stock"}:
        return INVENTORY.name
    if words & {*_PHONE, *_EMAIL, "firstname", "lastname"}:
        return CUSTOMERS.name
    return ""


_NAMES = {"sales": ("transaction", "order", "invoice"), "inventory": ("product", "stock", "menu"),
          "customers": ("patient", "member", "contact", "persona", "shopper")}  # fmt: skip


def guess(header: Sequence[str], kind: Kind, remembered: Mapping[str, str] | None = None) -> dict[str, str]:
    """Header -> name of its meaning, `IGNORE` for the others. What was said before about a header goes first."""
    found = {one: IGNORE for one in header}
    taken: set[str] = set()
    for one in header:
        said = remembered.get(one, IGNORE) if remembered else IGNORE
        if said in kind.names and said not in taken:
            found[one] = said
            taken.add(said)
    left = [one for one in header if not (remembered and one in remembered)]
    # A column goes to the meaning that names it first: `date` is the sale's day before it is anything else.
    ranked = sorted(
        ((column.words.index(word), order, column.name, one)
         for one in left if (word := folded(one))
         for order, column in enumerate(kind.columns) if word in column.words),
        key=lambda row: row[:2],
    )  # fmt: skip
    for _, _, name, one in ranked:
        if name not in taken and found[one] == IGNORE:
            found[one] = name
            taken.add(name)
    return found


def problems(header: Sequence[str], kind: Kind, mapping: Mapping[str, str]) -> list[str]:
    """What is wrong with a mapping, as sentences; empty when rows can be read by it."""
    said = []
    used: dict[str, list[str]] = {}
    for one, name in mapping.items():
        if name == IGNORE:
            continue
        if one not in header or name not in kind.names:
            said.append(f"There is no column “{one}”, or nothing called “{name}”.")
        else:
            used.setdefault(name, []).append(one)
    for name, columns in used.items():
        if len(columns) > 1:
            told = " and ".join(f"“{one}”" for one in columns)
            said.append(f"{kind.column(name).label} is read from one column, not from {told}.")
    said += [
        f"{column.label} is needed: choose its column."
        for column in kind.columns
        if column.needed and column.name not in used
    ]
    if kind.either and not set(kind.either) & set(used):
        labels = [kind.column(name).label for name in kind.either]
        said.append(f"Nothing tells rows apart: choose a column for {', '.join(labels[:-1])} or {labels[-1]}.")
    if kind is SALES and "line_total" not in used and not {"unit_price", "line_list", "total"} & set(used):
        said.append("No column tells what was paid: choose the line's amount, the price of one, or the sale's total.")
    return said

"""Where and how a source's files are collected, as its definition states it: steps, each of one scheme."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Files:
    """Files at fixed addresses.

    Attributes:
        urls: their addresses.
        unpack: patterns of the members that are unpacked of those that are zip archives.
        name: what the file is called where its address does not end in a name; for a single address.
    """

    urls: tuple[str, ...]
    unpack: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Listing:
    """Files that an answer lists: of data.gouv.fr, of Zenodo, or of a data set on the Hugging Face Hub.

    Attributes:
        url: the answer's address.
        names: patterns of the names of those that are taken.
        unpack: as in Files.
    """

    url: str
    names: tuple[str, ...]
    unpack: tuple[str, ...] = ()


@dataclass(frozen=True)
class FullTexts:
    """Full texts that the entries of an index name.

    Attributes:
        address: the entry's field that holds the address.
        identifier: the one that names the file.
        licence: the one that must state a licence for the text to be taken; empty where every text is.
        ending: of the files, such as `.pdf`.
    """

    address: str
    identifier: str
    licence: str = ""
    ending: str = ".pdf"


@dataclass(frozen=True)
class Cursor:
    """Solr's deep paging: each page names the cursor of the next, and the last one its own.

    Attributes:
        url: the search's address.
        params: `NAME=VALUE` of the query; sort order, rows and cursor are added.
        sort: the order, which ends in a unique field.
        rows: entries a page.
        full_texts: what is taken beside the pages.
    """

    url: str
    params: tuple[str, ...]
    sort: str
    rows: int = 500
    full_texts: FullTexts | None = None


@dataclass(frozen=True)
class Scroll:
    """A scroll API: each page gives the address of the next, for as long as the server remembers the query.

    Attributes:
        url: the search's address.
        params: `NAME=VALUE` of the query; the page's size is added.
        size: entries a page.
    """

    url: str
    params: tuple[str, ...]
    size: int = 100


@dataclass(frozen=True)
class Categories:
    """Pages of a wiki's categories, by the MediaWiki API.

    Attributes:
        url: the API's address.
        categories: titles, without the namespace.
        depth: how many levels of subcategories are entered.
        without: subcategories that are not.
        namespace: the wiki's word for a category.
    """

    url: str
    categories: tuple[str, ...]
    depth: int = 0
    without: tuple[str, ...] = ()
    namespace: str = "Category"


@dataclass(frozen=True)
class RowPages:
    """A page for each row of a table that an earlier step fetched.

    Attributes:
        table: the table's file; its columns stand between tabs.
        column: the column, counted from 0, whose value stands for `{}` in address and name.
        url: the pages' address.
        name: the pages' files.
        encoding: of the table, where it is not UTF-8.
    """

    table: str
    column: int
    url: str
    name: str
    encoding: str = "cp1252"


@dataclass(frozen=True)
class Step:
    """A step of a collection: one of the schemes."""

    files: Files | None = None
    datagouv: Listing | None = None
    zenodo: Listing | None = None
    hub: Listing | None = None
    solr: Cursor | None = None
    scroll: Scroll | None = None
    mediawiki: Categories | None = None
    row_pages: RowPages | None = None


@dataclass(frozen=True)
class Collection:
    """How a source is collected.

    Attributes:
        steps: what is fetched, in this order.
        delay: seconds between two requests to a host.
        hosts: further hosts that links and redirects may lead to; `*` stands for any part of a name.
        rules: the site's rules for programs, as far as they are known.
        contact: whether the rules ask for an address to write to.
        withheld: what is not fetched, and why.
    """

    steps: tuple[Step, ...]
    delay: float
    hosts: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    contact: bool = False
    withheld: str = ""

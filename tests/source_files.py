"""Small files in the formats that sources are published in, written from the formats' descriptions."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = "Dose : « 5–10 mg », œdème."


def pdf(*pages: str) -> bytes:
    """A PDF with a page for each text, in Helvetica and Windows-1252; a line of a text is a line of the page."""
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", font]
    kids = []
    for page in pages:
        lines = "".join(f"({_escaped(line)}) Tj 0 -14 Td " for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 50 700 Td {lines}ET".encode("cp1252")
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        kids.append(len(objects) + 1)
        content = b"/Contents %d 0 R" % len(objects)
        objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>>>%s>>" % content)
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    body, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def parquet(lines: bytes) -> bytes:
    """JSON lines as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in lines.splitlines()]), stream)
    return stream.getvalue()


def solr(*documents: dict[str, Any]) -> bytes:
    """A page of HAL's search."""
    response = {"numFound": len(documents), "start": 0, "docs": list(documents)}
    return json.dumps({"response": response, "nextCursorMark": "AoE="}).encode()


HAL_RECORD: dict[str, Any] = {
    "halId_s": "hal-01",
    "title_s": ["La grippe"],
    "abstract_s": ["Une étude de 37 ± 0,5 °C."],
    "language_s": ["fr"],
    "licence_s": "http://creativecommons.org/licenses/by-nc/",
    "authFullName_s": ["A. Un", "B. Deux"],
    "producedDate_s": "2020-01-02",
    "uri_s": "https://hal.science/hal-01",
    "fileMain_s": "https://hal.science/hal-01/file/these.pdf",
}
ISTEX_HIT: dict[str, Any] = {
    "id": "0A1B",
    "arkIstex": "ark:/67375/6H6-X",
    "title": "Le foie",
    "language": ["fre"],
    "author": [{"name": "C. Trois"}],
    "publicationDate": "1990",
    "doi": ["10.1/x"],
    "abstract": "Un résumé.",
}
ISTEX_PAGE = json.dumps({"total": 1, "hits": [ISTEX_HIT], "noMoreScrollResults": True}).encode()
WIKIPEDIA_PAGE: dict[str, Any] = {
    "pageid": 12,
    "title": "Foie",
    "extract": TEXT,
    "fullurl": "https://fr.wikipedia.org/wiki/Foie",
    "lastrevid": 99,
    "pagelanguage": "fr",
}
WIKIPEDIA_ANSWER = json.dumps({"batchcomplete": "", "query": {"pages": {"12": WIKIPEDIA_PAGE}}}).encode()
RESOURCES = json.dumps(
    [
        {
            "recordid": "r1",
            "fields": {"lom_general_title": "Anatomie", "lom_technical_location": "https://x.fr/cours/foie.pdf"},
        }
    ]
).encode()
TMX = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="EN"/><body>
<tu tuid="7"><note>not text</note><tuv xml:lang="EN"><seg>Dose</seg></tuv>
<tuv xml:lang="FR"><seg>{TEXT} <bpt i="1">&lt;b&gt;</bpt>gras<ept i="1">&lt;/b&gt;</ept></seg></tuv></tu>
<tu><tuv xml:lang="EN"><seg>Only</seg></tuv></tu>
<tu><tuv xml:lang="FR-BE"><seg>Deux</seg></tuv></tu>
</body></tmx>""".encode()
XMI = f"""<?xml version="1.0" encoding="UTF-8"?>
<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore" xmlns:custom="http:///webanno/custom.ecore">
<custom:EVENT xmi:id="9" sofa="1" begin="0" end="4" note="annotation"/>
<cas:Sofa xmi:id="1" sofaID="_InitialView" mimeType="text/plain" sofaString="{TEXT}&#10;Fin."/>
<cas:View sofa="1" members="9"/></xmi:XMI>""".encode()
GSC = f"""<?xml version="1.0" encoding="UTF-8"?>
<Corpus lang="fr"><document id="d1"><unit id="d1.u1"><text>{TEXT}</text>
<e id="e1" offset="0" len="4" cui="C1">annotation</e></unit>
<unit id="d1.u2"><text>Deux</text></unit></document></Corpus>""".encode()
BIOC = f"""<?xml version="1.0" encoding="UTF-8"?>
<collection><source>x</source><document><id>S1</id>
<passage><infon key="language">FR</infon><sentence><text>{TEXT}</text>
<annotation id="T1"><text>annotation</text></annotation></sentence>
<sentence><text>Fin.</text></sentence></passage>
<passage><infon key="language">EN</infon><sentence><text>English</text></sentence></passage></document>
<document><id>S2</id><passage><infon key="language">EN</infon><text>English</text></passage></document>
</collection>""".encode()
TEI = f"""<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>La grippe</title>
<author><persName><forename>A.</forename> <surname>Un</surname></persName></author></titleStmt>
<publicationStmt><availability><licence target="https://creativecommons.org/licenses/by/4.0/"/></availability>
</publicationStmt>
</fileDesc></teiHeader>
<text><body><div><head>Un</head><p>{TEXT}<lb/>suite<note>not text</note>.</p><p>Deux</p></div></body>
<back><p>bibliography</p></back></text></TEI>""".encode()
HTML = f"""<!DOCTYPE html><html><head><title>Notice</title><style>p {{}}</style></head><body><nav>menu</nav><h1>Un</h1>
<p>{TEXT}<br>suite <b>g</b>ras</p><script>var x;</script><table><tr><td>5</td><td>mg</td></tr></table>
</body></html>""".encode()
CONLL = "1\t0\tDose\tdose\tNOM\tO\n1\t1\t5–10\t@card@\tNUM\tB\n\n2\t0\tFin\tfin\tNOM\tO\n".encode()
PROSE = f'code;date;Indication\n12;2020-01-02;"{TEXT} Chez l’adulte"\n13;2020-01-03;-\n'.encode("utf-8-sig")
TRANSLATIONS = b"".join(
    json.dumps({"doc_id": n, "translation": {"en": "Flu", "fr": f"Grippe {n}"}}).encode() + b"\n" for n in (7, 8)
)
INSTRUCTIONS = b"".join(
    json.dumps({"instruction": "Réponds.", "input": f"Où {n} ?", "output": "Là.", "source": "MQC"}).encode() + b"\n"
    for n in (7, 8)
)
QUESTION = {"id": "a", "question": "?", "answers": {"a": "x", "b": "y"}, "correct_answers": ["a"], "subject_name": "s"}
E3C = json.dumps({"id": "FR1", "text": TEXT, "language": "fr", "licence": "CC BY 4.0", "type": "journal"}).encode()

"""Copy what the product pages need: `python -m catalogue.extract SHOP_DB CATALOGUE_DB SHOP_URL`.

Facts come from the monolith's database, which is never written to; the frame around them, such as
the shop's head and menu, from two of its pages. The copy appears whole or not at all.
"""

import json
import sqlite3
import sys
from pathlib import Path

from catalogue.frame import frame

_TABLES = """
create table product (
    id integer primary key,
    slug text not null,
    title text not null,
    upc text not null,
    kind text not null,
    description text not null,
    crumbs text not null, -- the shelves it stands on: [[address, name], …], the widest first
    pence integer not null,
    in_stock integer not null
) strict;
create table frame (for_sale integer primary key, page text not null) strict;
"""
_PRODUCTS = """
select p.id, p.slug, p.title, coalesce(p.upc, ''), k.name, p.description,
       coalesce(max(c.path), ''),
       cast(round(min(s.price) * 100) as integer),
       cast(max(coalesce(s.num_in_stock, 0) - coalesce(s.num_allocated, 0)) as integer)
from catalogue_product p
join catalogue_productclass k on k.id = p.product_class_id
join partner_stockrecord s on s.product_id = p.id
left join catalogue_productcategory pc on pc.product_id = p.id
left join catalogue_category c on c.id = pc.category_id
where p.is_public and p.structure = 'standalone'
group by p.id order by p.id
"""
# A shelf's path has four characters for each level (django-treebeard's materialized path).
_CRUMBS = """
select id, slug, name from catalogue_category
where ?1 like path || '%' order by path
"""


def extract(shop: Path, catalogue: Path, url: str) -> int:
    """Copy every public product, and the frames of pages from the shop at *url*; how many."""
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    making = catalogue.with_suffix(".making")
    making.unlink(missing_ok=True)
    source = sqlite3.connect(f"file:{shop}?mode=ro", uri=True)
    target = sqlite3.connect(making)
    target.row_factory = sqlite3.Row
    try:
        target.executescript(_TABLES)
        rows = [
            (*facts, _crumbs(source, path), pence, in_stock)
            for *facts, path, pence, in_stock in source.execute(_PRODUCTS)
        ]
        target.executemany("insert into product values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        for for_sale in (0, 1):
            found = "select * from product where (in_stock > 0) = ? order by id limit 1"
            for row in target.execute(found, (for_sale,)).fetchall():
                target.execute("insert into frame values (?, ?)", (for_sale, frame(row, url)))
        target.commit()
    finally:
        source.close()
        target.close()
    making.rename(catalogue)
    return len(rows)


def _crumbs(source: sqlite3.Connection, path: str) -> str:
    crumbs, place = [], "/catalogue/category"
    for number, slug, name in source.execute(_CRUMBS, (path,)):
        place += f"/{slug}"
        crumbs.append((f"{place}_{number}/", name))
    return json.dumps(crumbs)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(f"copied {extract(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])} products")

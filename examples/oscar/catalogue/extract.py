"""Copy what the product pages need: `python -m catalogue.extract SHOP_DB CATALOGUE_DB`.

Reads the monolith's database and never writes to it. The copy appears whole or not at all.
"""

import sqlite3
import sys
from pathlib import Path

_TABLE = """
create table product (
    id integer primary key,
    slug text not null,
    title text not null,
    upc text not null,
    kind text not null,
    description text not null,
    category text not null,
    pence integer not null,
    in_stock integer not null
) strict
"""
_QUERY = """
select p.id, p.slug, p.title, coalesce(p.upc, ''), k.name, p.description,
       coalesce(max(c.name), ''),
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


def extract(shop: Path, catalogue: Path) -> int:
    """Copy every public product; how many."""
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    making = catalogue.with_suffix(".making")
    making.unlink(missing_ok=True)
    source = sqlite3.connect(f"file:{shop}?mode=ro", uri=True)
    target = sqlite3.connect(making)
    try:
        rows = source.execute(_QUERY).fetchall()
        target.execute(_TABLE)
        target.executemany("insert into product values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        target.commit()
    finally:
        source.close()
        target.close()
    making.rename(catalogue)
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"copied {extract(Path(sys.argv[1]), Path(sys.argv[2]))} products")

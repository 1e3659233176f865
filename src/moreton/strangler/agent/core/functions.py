"""Functions of databases that only reckon: what a query that calls others does, nobody knows."""

from __future__ import annotations

from moreton.strangler.agent.core.lists import words

# What stands before a parenthesis and is no function.
SYNTAX = words(
    """
    all and any array as asc between bigint binary bit blob by case cast char character check
    coalesce collate columns cross cube date datetime decimal desc distinct double else enum
    except exists explain extract filter float for from full group grouping having ilike in inner
    int integer intersect interval is join json jsonb lateral left like limit materialized money
    natural not null numeric nvarchar offset on or order outer over partition precision range real
    recursive references regexp right rollup row rows select set sets similar smallint some table
    tablesample text then time timestamp timestamptz timetz tinyint to union unique using uuid
    values varbinary varbit varchar varying when where window with within xml
    """
)
_NAMES = words(
    """
    abs acos acosh add adddate addtime age array_agg ascii asin asinh atan atan2 atanh avg bin
    bit_and bit_count bit_length bit_or bit_xor bool_and bool_or bm25 btrim cardinality cbrt ceil
    ceiling changes char_length character_length charindex chr coalesce col_description collation
    concat concat_ws conv convert convert_from convert_to convert_tz corr cos cosh cot count
    covar_pop covar_samp crc32 cume_dist curdate current_catalog current_database current_date
    current_role current_schema current_schemas current_setting current_time current_timestamp
    current_user curtime database date_add date_bin date_format date_part date_sub date_trunc
    dateadd datediff datename datepart day dayname dayofmonth dayofweek dayofyear decode degrees
    dense_rank div elt encode every exp factorial field find_in_set first_value floor format
    format_type from_base64 from_days from_unixtime gcd generate_series generate_subscripts
    gen_random_uuid get_byte getdate glob greatest group_concat grouping hex highlight hour iif
    ifnull inet_aton inet_ntoa initcap instr isfinite isnull isnumeric json_agg json_array
    json_array_length json_each json_extract json_group_array json_group_object json_object
    json_quote json_tree json_type json_valid julianday justify_days justify_hours
    justify_interval lag last_day last_insert_rowid last_value lcase lcm lead least left len
    length likelihood likely ln localtime localtimestamp locate log log10 log2 lower lpad ltrim
    make_date make_interval make_time make_timestamp make_timestamptz makedate maketime max md5
    median microsecond mid min minute mod mode month monthname newid now nth_value ntile nullif
    num_nonnulls num_nulls nvl obj_description oct octet_length offsets ord overlay parse_ident
    patindex percent_rank percentile_cont percentile_disc period_add period_diff phraseto_tsquery
    pi plainto_tsquery position pow power printf quarter query_to_xml quote quote_ident
    quote_literal quote_nullable quotename radians rand
    random randomblob rank regr_slope
    regr_intercept repeat replace replicate reverse right round row_number row_to_json rpad rtrim
    schema scale sec_to_time second session_user set_byte setseed setweight sha1 sha2 sha224
    sha256 sha384 sha512 shape shobj_description sign similarity sin sinh snippet soundex space
    split_part sqlite_version sqrt squeeze starts_with statement_timestamp stddev stddev_pop
    stddev_samp str_to_date strcmp strftime string_agg string_to_array strip strpos stuff subdate
    substr substring substring_index subtime sum sysdate system_user tan tanh time_format
    time_to_sec timediff timeofday timestampadd timestampdiff to_base64 to_days to_seconds total
    total_changes transaction_timestamp translate treat trim trunc truncate ts_headline ts_rank
    ts_rank_cd tsvector_to_array typeof ucase unhex unicode unix_timestamp unistr unlikely unnest
    upper user utc_date utc_time utc_timestamp var_pop var_samp variance version
    websearch_to_tsquery week weekday weekofyear weight_string width_bucket word_similarity xmlagg
    xmlconcat xmlelement xmlforest year yearweek zeroblob
    """
)
# Whole families: Django's own for SQLite, JSON, arrays, PostGIS, what PostgreSQL says of itself.
_FAMILIES = (
    "django_", "sqlite_", "json_", "jsonb_", "array_", "st_", "regexp_", "ts_", "to_",
    "regr_", "range_",
    "pg_get_", "pg_size_", "pg_typeof", "pg_table_", "pg_total_", "pg_relation_", "pg_is_",
    "pg_encoding_", "pg_column_", "pg_has_", "has_", "text_", "trgm_", "strict_word_", "clock_",
    "numeric_", "lower_", "upper_", "inet_", "host", "xpath", "unaccent", "levenshtein",
)  # fmt: skip


def only_reckons(name: str) -> bool:
    """Whether the function *name*, in lower case, is known to change nothing."""
    return name in _NAMES or name in SYNTAX or name.startswith(_FAMILIES)

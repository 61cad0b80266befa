//! Kafka tells a setting as it understood it, not as it was written: `TRUE` comes back as `true`, `0.50` as `0.5`.

/// Whether two spellings of a setting's value mean the same to Kafka. Without it a topic would be repaired for ever.
pub(super) fn same(wished: &str, found: &str) -> bool {
    let (wished, found) = (wished.trim(), found.trim());
    wished == found || same_number(wished, found) || same_switch(wished, found) || same_list(wished, found)
}

fn same_number(wished: &str, found: &str) -> bool {
    let whole = |text: &str| text.parse::<i64>().ok();
    let broken = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    match (whole(wished), whole(found)) {
        (Some(wished), Some(found)) => wished == found,
        _ => broken(wished).zip(broken(found)).is_some_and(|(wished, found)| wished.total_cmp(&found).is_eq()),
    }
}

fn same_switch(wished: &str, found: &str) -> bool {
    matches!(found, "true" | "false") && wished.eq_ignore_ascii_case(found)
}

fn same_list(wished: &str, found: &str) -> bool {
    let parts = |text| -> Vec<&str> { str::split(text, ',').map(str::trim).collect() };
    found.contains(',') && parts(wished) == parts(found)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn spellings_that_kafka_does_not_tell_apart_are_the_same() {
        for (wished, found) in [
            ("600000", "600000"),
            ("0600000", "600000"),
            (" 600000 ", "600000"),
            ("0.50", "0.5"),
            ("1", "1.0"),
            ("TRUE", "true"),
            ("delete, compact", "delete,compact"),
            ("lz4", "lz4"),
        ] {
            assert!(same(wished, found), "{wished} and {found}");
        }
    }

    #[test]
    fn other_values_are_others() {
        for (wished, found) in [
            ("600000", "600001"),
            ("9223372036854775807", "9223372036854775806"),
            ("0.5", "0.25"),
            ("true", "false"),
            ("LZ4", "lz4"),
            ("delete", "delete,compact"),
            ("", "0"),
            ("nan", "NaN"),
        ] {
            assert!(!same(wished, found), "{wished} and {found}");
        }
    }
}

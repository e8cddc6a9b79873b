//! Every operator, as a table.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn outcome(value: Value, operator: &str, expected: Value) -> String {
    match evaluate(&value, Operator::parse(operator).unwrap(), &expected) {
        Ok(met) => met.to_string(),
        Err(error) => error,
    }
}

/// One row a case: value, operator, expected, what Dify says.
#[test]
fn operators_decide_as_in_dify() {
    let number_needed = "Invalid actual value type: number";
    let rows = [
        (json!("hello"), "contains", json!("ell"), "true"),
        (json!("hello"), "contains", json!("x"), "false"),
        (json!(""), "contains", json!(""), "false"),
        (json!(["a", "b"]), "contains", json!("b"), "true"),
        (json!([1, 2]), "contains", json!("1"), "false"),
        (json!([true]), "contains", json!(true), "true"),
        (json!(5), "contains", json!("5"), "Invalid actual value type: string or array"),
        (json!("hello"), "not contains", json!("x"), "true"),
        (json!(null), "not contains", json!("x"), "true"),
        (json!(["a"]), "not contains", json!("a"), "false"),
        (json!("hello"), "start with", json!("he"), "true"),
        (json!(""), "start with", json!(""), "false"),
        (json!(["h"]), "start with", json!("h"), "Invalid actual value type: string"),
        (json!("hello"), "end with", json!("lo"), "true"),
        (json!("hello"), "end with", json!(["lo"]), "Expected value must be a string for endswith"),
        (json!("a"), "is", json!("a"), "true"),
        (json!("a"), "is", json!("b"), "false"),
        (json!(true), "is", json!(true), "true"),
        (json!(null), "is", json!("a"), "false"),
        (json!(1), "is", json!("1"), "Invalid actual value type: string or boolean"),
        (json!("a"), "is not", json!("b"), "true"),
        (json!(null), "is not", json!("b"), "false"),
        (json!(""), "empty", json!(null), "true"),
        (json!([]), "empty", json!(null), "true"),
        (json!(0), "empty", json!(null), "true"),
        (json!({"a": 1}), "empty", json!(null), "false"),
        (json!("x"), "not empty", json!(null), "true"),
        (json!(null), "not empty", json!(null), "false"),
        (json!("a"), "in", json!(["a", "b"]), "true"),
        (json!("c"), "in", json!(["a", "b"]), "false"),
        (json!(""), "in", json!(["a"]), "false"),
        (json!("a"), "in", json!("abc"), "Invalid expected value type: array"),
        (json!("c"), "not in", json!(["a", "b"]), "true"),
        (json!(""), "not in", json!(["a"]), "true"),
        (json!(["a", "b", "c"]), "all of", json!(["a", "c"]), "true"),
        (json!(["a"]), "all of", json!(["a", "c"]), "false"),
        (json!([true, false]), "all of", json!([true]), "true"),
        (json!(["a"]), "all of", json!("a"), "Unsupported operator: all of"),
        (
            json!(["a"]),
            "all of",
            json!(["a", true]),
            "all of operator expects homogeneous list of strings or booleans",
        ),
        (json!(5), "=", json!("5"), "true"),
        (json!(5), "=", json!(" 5 "), "true"),
        (json!(5), "=", json!("6"), "false"),
        (json!(5), "=", json!("5.0"), "invalid literal for int() with base 10: '5.0'"),
        (json!(2.5), "=", json!("2.5"), "true"),
        (json!(2.5), "=", json!("x"), "could not convert string to float: 'x'"),
        (json!(true), "=", json!(true), "true"),
        (json!(null), "=", json!("5"), "false"),
        (json!("5"), "=", json!("5"), "Invalid actual value type: number or boolean"),
        (json!(5), "≠", json!("6"), "true"),
        (json!(null), "≠", json!("6"), "false"),
        (json!(5), ">", json!("4.5"), "true"),
        (json!(5), ">", json!("5"), "false"),
        (json!("5"), ">", json!("4"), number_needed),
        (json!(5), ">", json!("x"), "Cannot convert 'x' to number"),
        (json!(5), "<", json!("5.5"), "true"),
        (json!(5.0), "≥", json!("5"), "true"),
        (json!(5), "≤", json!("4"), "false"),
        (json!(null), "≤", json!("4"), "false"),
        (json!(null), "null", json!(null), "true"),
        (json!(""), "null", json!(null), "false"),
        (json!(""), "not null", json!(null), "true"),
        (json!({"type": "image"}), "exists", json!(null), "true"),
        (json!(null), "exists", json!(null), "false"),
        (json!(null), "not exists", json!(null), "true"),
    ];
    for (value, operator, expected, says) in rows {
        assert_eq!(outcome(value.clone(), operator, expected.clone()), says, "{value} {operator} {expected}");
    }
    let tested = OPERATORS.len();
    assert_eq!(tested, 21, "a new operator needs rows above");
}

#[test]
fn lists_of_files_are_judged_by_their_attributes() {
    let file = |name: &str, extension: &str, size: u64| json!({"type": "document", "transfer_method": "remote_url", "filename": name, "extension": extension, "size": size});
    let files = [file("a.pdf", ".pdf", 10), file("b.txt", "txt", 900)];
    let check = |key: &str, operator: &str, expected: Value| {
        FileCondition { key: key.to_owned(), operator: Operator::parse(operator).unwrap(), expected }
            .check(&files)
    };
    assert_eq!(check("extension", "is", json!("pdf")), Ok(true));
    assert_eq!(check("extension", "is not", json!(".pdf")), Ok(false), "negated: all files");
    assert_eq!(check("name", "contains", json!("b.")), Ok(true));
    assert_eq!(check("size", ">", json!("899")), Ok(true));
    assert_eq!(check("type", "in", json!(["image"])), Ok(false));
    assert_eq!(check("color", "is", json!("red")), Err("'color' is not a valid FileAttribute".to_owned()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
}

proptest! {
    #[test]
    fn any_values_are_compared_without_panic(value in any_json(), expected in any_json(), at in 0usize..21) {
        let _ = evaluate(&value, OPERATORS[at].1, &expected);
    }
}

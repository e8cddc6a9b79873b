//! The `WHERE` of a list whose conditions depend on the caller.

use super::Value;

/// Conditions joined by AND, with their values in order.
pub(crate) struct Filter<'a> {
    sql: String,
    values: Vec<Value<'a>>,
}

impl<'a> Filter<'a> {
    pub(crate) fn new() -> Filter<'a> {
        Filter { sql: String::from("1 = 1"), values: Vec::new() }
    }

    /// A condition without a value.
    pub(crate) fn is(&mut self, condition: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
    }

    /// A condition in which each `?` stands for the value; left out when there is none.
    pub(crate) fn and(&mut self, condition: &str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            let number = self.bind(value.into());
            self.is(&condition.replace('?', &number));
        }
    }

    /// Adds a value that is used elsewhere in the statement and gives its placeholder.
    pub(crate) fn bind(&mut self, value: Value<'a>) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    pub(crate) fn values(&self) -> &[Value<'a>] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_without_a_value_are_left_out() {
        let mut filter = Filter::new();
        filter.and("app = ?", Some("a"));
        filter.and("status = ?", None::<&str>);
        filter.and("(id = ? OR session = ?)", Some("b"));
        assert_eq!(filter.sql(), "1 = 1 AND app = $1 AND (id = $2 OR session = $2)");
        assert_eq!(filter.bind(Value::Int(3)), "$3");
        assert_eq!(filter.values().len(), 3);
    }
}

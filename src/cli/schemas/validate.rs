//! As much of JSON Schema as the schemas of this crate use; a keyword that is not known fails.

use serde_json::Value;

/// Where an instance does not follow a schema.
pub fn errors(schema: &Value, instance: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    Validator { root: schema }.check(schema, instance, "", &mut errors);
    errors
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn valid(&self, schema: &Value, instance: &Value) -> bool {
        let mut errors = Vec::new();
        self.check(schema, instance, "", &mut errors);
        errors.is_empty()
    }

    fn check(&self, schema: &Value, instance: &Value, path: &str, errors: &mut Vec<String>) {
        let Some(schema) = schema.as_object() else {
            if schema == &Value::Bool(false) {
                errors.push(format!("{path}: nothing is expected"));
            }
            return;
        };
        for (keyword, rule) in schema {
            let holds = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
                "$ref" => {
                    self.check(self.resolve(rule), instance, path, errors);
                    true
                }
                "type" => is_of_type(rule, instance),
                "const" => rule == instance,
                "enum" => rule.as_array().unwrap().contains(instance),
                "minimum" => instance.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
                "minItems" => instance
                    .as_array()
                    .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
                "pattern" => instance.as_str().is_none_or(|text| is_mib(rule, text)),
                "anyOf" => rule.as_array().unwrap().iter().any(|s| self.valid(s, instance)),
                "oneOf" => {
                    let schemas = rule.as_array().unwrap();
                    schemas.iter().filter(|s| self.valid(s, instance)).count() == 1
                }
                "items" => {
                    for (index, item) in instance.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{path}/{index}"), errors);
                    }
                    true
                }
                "required" => instance.as_object().is_none_or(|object| {
                    rule.as_array()
                        .unwrap()
                        .iter()
                        .all(|k| object.contains_key(k.as_str().unwrap()))
                }),
                "properties" => {
                    for (key, value) in instance.as_object().into_iter().flatten() {
                        if let Some(rule) = rule.get(key) {
                            self.check(rule, value, &format!("{path}/{key}"), errors);
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    let mut keys = instance.as_object().into_iter().flatten().map(|(key, _)| key);
                    rule != &Value::Bool(false)
                        || keys.all(|key| known.is_some_and(|known| known.contains_key(key)))
                }
                other => panic!("`{other}` is not known here"),
            };
            if !holds {
                errors.push(format!("{path}: {instance} is against `{keyword}`: {rule}"));
            }
        }
    }

    fn resolve(&self, reference: &Value) -> &Value {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        self.root.pointer(pointer).unwrap()
    }
}

fn is_of_type(rule: &Value, instance: &Value) -> bool {
    if let Some(types) = rule.as_array() {
        return types.iter().any(|rule| is_of_type(rule, instance));
    }
    match rule.as_str().unwrap() {
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        "string" => instance.is_string(),
        "integer" => instance.is_i64() || instance.is_u64(),
        "number" => instance.is_number(),
        "array" => instance.is_array(),
        "object" => instance.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

/// The one pattern that is used.
fn is_mib(rule: &Value, text: &str) -> bool {
    assert_eq!(rule, "^[0-9]+ MiB$");
    text.strip_suffix(" MiB")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

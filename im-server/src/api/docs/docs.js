// Draws /openapi.json. Everything is made with createElement and textContent: nothing of the document is read as HTML.

/** Makes an element with attributes and children (text or elements; nothing for null). */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Text in which `code` stands between backticks. */
function words(text) {
  return text.split("`").map((part, n) => (n % 2 ? make("code", {}, part) : part));
}

function prose(text) {
  return make("p", {}, ...words(text));
}

const api = await (await fetch("/openapi.json")).json();

const named = (ref) => api.components.schemas[ref.split("/").pop()];

/** An example of what a schema describes. Deep or repeated objects end as {}. */
function example(schema, seen = []) {
  if (!schema || seen.length > 8) return {};
  if (schema.$ref) return seen.includes(schema.$ref) ? {} : example(named(schema.$ref), [...seen, schema.$ref]);
  if (schema.example !== undefined) return schema.example;
  if (schema.enum) return schema.enum[0];
  const choice = (schema.oneOf ?? schema.anyOf)?.find((one) => one.type !== "null");
  if (choice) return example(choice, seen);
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((one) => example(one, seen)));
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  switch (type) {
    case "string":
      return "…";
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return false;
    case "array":
      return [example(schema.items, seen)];
    default: {
      const fields = Object.entries(schema.properties ?? {});
      return Object.fromEntries(fields.map(([name, field]) => [name, example(field, seen)]));
    }
  }
}

function json(content) {
  const [media] = Object.values(content ?? {});
  return media?.schema ? make("pre", {}, JSON.stringify(example(media.schema), null, 2)) : null;
}

/** The fields of a body, with what is said about them. */
function fields(content) {
  const [media] = Object.values(content ?? {});
  const schema = media?.schema?.$ref ? named(media.schema.$ref) : media?.schema;
  const required = schema?.required ?? [];
  const rows = Object.entries(schema?.properties ?? {}).map(([name, field]) => [
    name,
    required.includes(name),
    field.description ?? field.oneOf?.map((one) => one.description).find(Boolean) ?? "",
  ]);
  return rows.length ? table(rows) : null;
}

function table(rows) {
  const row = ([name, required, description]) =>
    make(
      "tr",
      {},
      make("td", {}, make("code", {}, name)),
      make("td", { class: "quiet" }, required ? "required" : ""),
      make("td", {}, ...words(description)),
    );
  return make("table", {}, ...rows.map(row));
}

function article(path, method, operation, id) {
  const parameters = (operation.parameters ?? []).map(({ name, required, description }) => [
    name,
    required,
    description ?? "",
  ]);
  const answers = Object.entries(operation.responses).flatMap(([status, response]) => [
    make("h4", {}, status === "default" ? "Otherwise" : status),
    prose(response.description),
    status.startsWith("2") ? json(response.content) : null,
  ]);
  const security = operation.security ?? [];
  const schemes = security.flatMap((one) => Object.keys(one)).join(" or ");
  const optional = security.some((one) => Object.keys(one).length === 0) ? " (optional)" : "";
  return make(
    "article",
    { id },
    make("h3", {}, operation.summary ?? operation.operationId),
    make("p", { class: "route" }, make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path)),
    schemes ? make("p", { class: "quiet" }, `Authorization: Bearer <${schemes}>${optional}`) : null,
    operation.description ? prose(operation.description) : null,
    parameters.length ? make("h4", {}, "Parameters") : null,
    parameters.length ? table(parameters) : null,
    operation.requestBody ? make("h4", {}, "Body") : null,
    operation.requestBody ? fields(operation.requestBody.content) : null,
    operation.requestBody ? json(operation.requestBody.content) : null,
    ...answers,
  );
}

const main = document.getElementById("document");
const contents = document.getElementById("contents");
const groups = new Map();
for (const [path, item] of Object.entries(api.paths)) {
  for (const method of ["get", "post", "put", "patch", "delete"]) {
    const operation = item[method];
    if (!operation) continue;
    const [tag] = operation.tags ?? ["Other"];
    groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
  }
}

main.replaceChildren(
  make("h1", {}, `${api.info.title} ${api.info.version}`),
  prose(api.info.description),
  make("p", {}, make("a", { href: "/openapi.json" }, "openapi.json"), ", OpenAPI ", api.openapi),
);
for (const [tag, operations] of groups) {
  contents.append(make("h2", {}, tag));
  main.append(make("h2", {}, tag));
  for (const { path, method, operation } of operations) {
    const id = `${method}${path.replaceAll(/[^a-z]+/g, "-")}`;
    contents.append(make("a", { href: `#${id}` }, operation.summary ?? path));
    main.append(article(path, method, operation, id));
  }
}
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();

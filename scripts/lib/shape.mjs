// Whether an answer is what the API gives. Any server may say 200 in JSON, and a list where a text should
// be would be shown as if it were one. Members that are not named here may be there.

export const text = (value) => typeof value === "string";
export const number = (value) => typeof value === "number";
export const flag = (value) => typeof value === "boolean";

/** Absent is as good as null. */
export const maybe = (shape) => (value) => value === undefined || value === null || shape(value);

export const list = (shape) => (value) => Array.isArray(value) && value.every(shape);

export const object = (members) => (value) =>
  typeof value === "object" &&
  value !== null &&
  Object.entries(members).every(([name, shape]) => shape(value[name]));

/** As `call` wants to know it. */
export const answers =
  (shape) =>
  ({ json }) =>
    shape(json);

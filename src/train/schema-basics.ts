import { z } from "zod";

/** The pieces that the parts of the recipe schema share. */

/** A schema with its meaning: docs/recipes.md and nothing else repeats it. */
export const key = <T extends z.ZodType>(schema: T, description: string) => schema.describe(description);
export const positive = z.number().positive();
export const nonNegative = z.number().min(0);
export const count = z.int().min(1);
export const fraction = z.number().min(0).max(1);

/** An object chosen by one key, which may be left out for the default choice. */
export function chosen<T extends z.ZodType>(discriminator: string, fallback: string, union: T) {
  return z.preprocess(
    (value) =>
      typeof value === "object" && value !== null && !Array.isArray(value) && !(discriminator in value)
        ? { [discriminator]: fallback, ...value }
        : value,
    union,
  );
}

import { UserError } from "../errors.ts";
import type { Recipe } from "./recipe-schema.ts";

/** How one parameter trains under a recipe's plan. */
export interface Training {
  frozen: boolean;
  /** Factor of the learning rate. */
  lr: number;
  weightDecay: number;
}

/**
 * Whether a name fits: a pattern with `*` must fit the whole name, anything else a leading part that ends at a dot.
 */
export function fitsName(pattern: string, name: string): boolean {
  if (!pattern.includes("*")) return name === pattern || name.startsWith(`${pattern.replace(/\.$/, "")}.`);
  const source = pattern
    .split("*")
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"))
    .join(".*");
  return new RegExp(`^${source}$`).test(name);
}

/**
 * How each of the parameters trains. A pattern of the plan that fits none of them is a `UserError`: it would
 * silently do nothing. The default of `freeze` is excepted, since not every upstream has a convolutional extractor.
 */
export function trainingOf(
  names: readonly string[],
  plan: Recipe["plan"],
  optimizer: Recipe["optimizer"],
): Map<string, Training> {
  const patterns = [
    ...plan.freeze.map((match) => ({ match, key: "plan.freeze" })),
    ...plan.groups.map(({ match }, i) => ({ match, key: `plan.groups.${i}.match` })),
  ];
  for (const { match, key } of patterns)
    if (match !== "feature_extractor" && !names.some((name) => fitsName(match, name)))
      throw new UserError(
        `${key}: \`${match}\` fits no parameter; names look like ${names.slice(0, 2).join(", ")}`,
      );
  return new Map(
    names.map((name) => {
      const group = plan.groups.find(({ match }) => fitsName(match, name));
      return [
        name,
        {
          frozen: plan.freeze.some((match) => fitsName(match, name)),
          lr: group?.lr ?? 1,
          weightDecay: group?.weightDecay ?? optimizer.weightDecay,
        },
      ];
    }),
  );
}

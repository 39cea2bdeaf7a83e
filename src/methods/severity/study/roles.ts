import { UserError } from "../../../errors.ts";
import type { Recipe } from "../../../train/recipe.ts";

/** Which of a recipe's objectives plays which part in the severity paper. */
export interface Roles {
  /** The objective that grades, and the label and its classes, from the mildest to the most severe. */
  readonly severity: string;
  readonly label: string;
  readonly classes: readonly string[];
  /** The auxiliary objective that writes down what is said. */
  readonly phonemes: string;
}

/** Finds the two objectives of a severity recipe. @throws UserError naming the key that is missing */
export function rolesOf(recipe: Recipe): Roles {
  const named = (loss: string) => Object.entries(recipe.objectives).filter(([, o]) => o.loss === loss);
  const [graders, writers] = [named("cross-entropy"), named("ctc")];
  if (graders.length !== 1 || writers.length !== 1 || Object.keys(recipe.objectives).length !== 2)
    throw new UserError(
      "objectives: a severity study needs one with loss cross-entropy (the severity) and one with loss ctc (what is said), and no others",
    );
  const [severity, grader] = graders[0];
  const label = grader.loss === "cross-entropy" ? grader.target.slice("labels.".length) : "";
  const classes = recipe.corpus.classes?.[label];
  if (classes === undefined)
    throw new UserError(
      `corpus.classes: must name the grades of ${label} from the mildest to the most severe, such as {${label}: ["0", "1", "2"]}; kappa and rank correlation need their order`,
    );
  return { severity, label, classes, phonemes: writers[0][0] };
}

import { correlate } from "../../../metrics/correlation.ts";
import { type Spread, spread } from "../../../metrics/spread.ts";
import { type Claim, verdictOf } from "../../speech-ft/replication/section.ts";
import { EXTENDED, type Selected } from "./selection.ts";
import { FULL, type Size, TASKS, type Task } from "./size.ts";
import { GROUPS, MEL_FEATURES, type Row } from "./study.ts";

const TITLES: Readonly<Record<Task, string>> = {
  phonemes: "phones (PER ↓)",
  speakers: "speaker verification (EER ↓)",
  age: "age band (error ↓)",
};

const errors = (rows: readonly Row[], model: string, task: Task): Map<number, number> =>
  new Map(
    rows.filter((row) => row.model === model && row.task === task).map(({ seed, error }) => [seed, error]),
  );

/** How far a's error lies below b's, in points, for each seed that has both. */
export function gains(rows: readonly Row[], a: string, b: string, task: Task): number[] {
  const [first, second] = [errors(rows, a, task), errors(rows, b, task)];
  return [...first].flatMap(([seed, error]) => (second.has(seed) ? [100 * (second.get(seed)! - error)] : []));
}

const signed = (x: number) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`;

/** That a has a lower error than b on every task; where tasks disagree the claim does not hold. */
function lower(rows: readonly Row[], claim: string, where: string, a: string, b: string): Claim {
  const found = TASKS.map((task) => ({ task, values: gains(rows, a, b, task) })).filter(
    ({ values }) => values.length > 0,
  );
  if (found.length === 0) return { claim, where, verdict: "not run", found: "" };
  const verdicts = found.map(({ values }) => verdictOf(values));
  const verdict = verdicts.includes("does not hold")
    ? "does not hold"
    : verdicts.every((each) => each === "holds")
      ? "holds"
      : "undecided";
  const said = found.map(({ task, values }, i) => {
    const { mean, sd } = spread(values);
    return `${task} ${signed(mean)}${sd === null ? "" : ` ± ${sd.toFixed(2)}`} (${verdicts[i]})`;
  });
  return { claim, where, verdict, found: said.join(", ") };
}

const BASELINES = { all: "all labels with weight 1", mrmr: "MRMR's four", rfe: "RFE's four" };

/** The paper's claims against what was found. Gains are points of error. */
export function claimsOf(rows: readonly Row[]): Claim[] {
  const claims: Claim[] = [];
  for (const ours of ["sparsemax", "softmax"])
    for (const baseline of ["all", "mrmr", "rfe"] as const)
      claims.push(
        lower(
          rows,
          `${ours} weights have a lower error than ${BASELINES[baseline]}`,
          "Table II",
          `pase ${ours}`,
          `pase ${baseline}`,
        ),
      );
  claims.push(
    lower(
      rows,
      "a PASE-like model with softmax weights beats mel spectra without pre-training",
      "section VII-A",
      "pase softmax",
      MEL_FEATURES,
    ),
    lower(
      rows,
      "wav2vec 2.0 gains by pretext tasks with sparsemax weights",
      "Table III",
      "wav2vec2 sparsemax",
      "wav2vec2 alone",
    ),
    lower(rows, "wav2vec 2.0 gains by 0.5 for every label", "Table III", "wav2vec2 naive", "wav2vec2 alone"),
    lower(
      rows,
      "sparsemax weights help wav2vec 2.0 more than 0.5 for every label",
      "Table III",
      "wav2vec2 sparsemax",
      "wav2vec2 naive",
    ),
    lower(
      rows,
      "three more candidates lower the error (sparsemax+)",
      "Table V",
      "pase sparsemax+",
      "pase sparsemax",
    ),
    lower(
      rows,
      "weighing spectra beside mel lowers the error (spectral+)",
      "Table V",
      "pase spectral+",
      "pase sparsemax",
    ),
    ...TASKS.map((task) =>
      lower(
        rows,
        `weights chosen for ${task} beat all labels with weight 1 on the other tasks, too`,
        "Table V",
        `pase sparsemax for ${task}`,
        "pase all",
      ),
    ),
    lower(
      rows,
      "labels help beside mel and MFCC (not in the paper)",
      "-",
      "pase sparsemax",
      "pase no labels",
    ),
  );
  return claims;
}

/** Error and estimate of each label that a model learned alone, and how far their rankings agree, by task (Fig. 2). */
export interface Ranking {
  readonly task: Task;
  readonly labels: readonly { readonly name: string; readonly estimate: number; readonly error: number }[];
  readonly spearman: number;
  readonly kendall: number;
  /** Of Kendall's tau-b, by permutation, two-sided. */
  readonly p: number;
}

/** The rankings that have three labels or more; the errors are those of the seed that comes first. */
export function rankingsOf(rows: readonly Row[], selected: Partial<Record<Task, Selected>>): Ranking[] {
  return TASKS.flatMap((task) => {
    const estimates = selected[task]?.estimates ?? {};
    const labels = Object.entries(estimates).flatMap(([name, estimate]) => {
      const [error] = errors(rows, `pase only ${name}`, task).values();
      return error === undefined ? [] : [{ name, estimate, error }];
    });
    if (labels.length < 3) return [];
    const [x, y] = [labels.map(({ estimate }) => estimate), labels.map(({ error }) => error)];
    const { value: kendall, p } = correlate("kendall", x, y);
    return [{ task, labels, spearman: correlate("spearman", x, y).value, kendall, p }];
  });
}

const table = (header: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);

const cell = (values: readonly number[]): string => {
  if (values.length === 0) return "-";
  const { mean, sd }: Spread = spread(values.map((x) => 100 * x));
  return `${mean.toFixed(2)}${sd === null ? "" : ` ± ${sd.toFixed(2)}`}`;
};

export interface SectionInput {
  readonly rows: readonly Row[];
  readonly selected: Partial<Record<Task, Selected>>;
  readonly failed: readonly string[];
  readonly size: Size;
  /** Minutes of speech that models are pre-trained on. */
  readonly minutes: number;
  readonly command: string;
  readonly left: number;
}

/** The section of docs/results.md; undefined where nothing was measured. */
export function section(input: SectionInput): string | undefined {
  const { rows, selected, failed, size, minutes, command, left } = input;
  if (rows.length === 0) return undefined;
  const { pase, wav2vec2 } = size.encoders;
  const models = [...new Set(rows.map(({ model }) => model))].filter(
    (model) => !model.startsWith("pase only "),
  );
  const body = models.map((model) => {
    const own = TASKS.map((task) => [...errors(rows, model, task).values()]);
    return [model, String(Math.max(...own.map(({ length }) => length))), ...own.map(cell)];
  });
  return [
    `Real speech: models pre-trained on ${minutes.toFixed(0)} minutes of speechocean762's training speakers (${pase.steps} updates of the PASE-like encoder, ${wav2vec2.steps} of wav2vec 2.0), frozen, and probed on test speakers that neither pre-training nor selection heard; made by \`${command}\`. The PASE-like encoder has about a tenth of the paper's width${size === FULL ? " and two LSTM layers instead of five" : ""}. Each model is judged on the task that its weights were computed for ("sparsemax for TASK": on the others): digits of FSDD stand for the words of the recogniser, speakers and age bands are speechocean762's. Weights as \`voxsmith select --reference\` finds them; with that command's own defaults softmax and sparsemax agree. Phones: two time-delay layers and CTC; verification: x-vectors and PLDA over all pairs; age: mean pool and linear layers. Per cent, ± the standard deviation over seeds ${size.seeds.join(", ")}. None of these numbers can be compared with the paper's, only their order.`,
    "",
    ...table(["pre-training", "seeds", ...TASKS.map((task) => TITLES[task])], body),
    "",
    ...weightTables(selected),
    ...rankingTable(rankingsOf(rows, selected), size.seeds[0]),
    `Failed runs: ${failed.length === 0 ? "none" : failed.join("; ")}.`,
    "",
    "A claim holds on a task, or does not, where the mean of the paired differences is farther from 0 than two standard errors over the seeds; it holds where it does on all three, and does not where it does not on any. Differences are points of error gained.",
    "",
    ...table(
      ["claim of the paper", "where", "here", "what was found"],
      claimsOf(rows).map(({ claim, where, verdict, found }) => [claim, where, verdict, found]),
    ),
    ...(left > 0 ? ["", `${left} pieces of work have no result yet.`] : []),
    "",
  ].join("\n");
}

/** The weights of each task, by method: Table VI, and those of Table V. */
function weightTables(selected: SectionInput["selected"]): string[] {
  return TASKS.flatMap((task) => {
    const own = selected[task];
    if (own === undefined) return [];
    const { estimates, weights, extended } = own;
    const spectra = Object.keys(extended["spectral+"]).filter((name) => estimates[name] === undefined);
    const names = Object.keys(estimates).sort((a, b) => estimates[a] - estimates[b]);
    const columns = [
      ...GROUPS.filter((group) => group !== "all").map((group) => [group, weights[group]] as const),
      ...EXTENDED.map((group) => [group, extended[group]] as const),
    ];
    return [
      `Weights for ${task} (the lower the estimate, the more useful the label should be):`,
      "",
      ...table(
        ["label", "estimate", ...columns.map(([group]) => group)],
        [...names, ...spectra].map((name) => [
          name,
          estimates[name]?.toFixed(3) ?? "-",
          ...columns.map(([, values]) => values[name]?.toFixed(2) ?? "-"),
        ]),
      ),
      "",
    ];
  });
}

/** Fig. 2 as a table: one model for each label. */
function rankingTable(rankings: readonly Ranking[], seed: number): string[] {
  if (rankings.length === 0) return [];
  const names = [...new Set(rankings.flatMap(({ labels }) => labels.map(({ name }) => name)))];
  const agreement = rankings.map(({ task, spearman, kendall, p }) =>
    Number.isNaN(kendall)
      ? `${task}: all errors are equal`
      : `${task}: Spearman's rho ${spearman.toFixed(2)}, Kendall's tau-b ${kendall.toFixed(2)} (p ${p.toFixed(2)})`,
  );
  return [
    `One model for each label beside mel and MFCC (Fig. 2), seed ${seed}: estimate, and error in per cent. The paper's claim is that both rise together. ${agreement.join("; ")}.`,
    "",
    ...table(
      ["label", ...rankings.flatMap(({ task }) => [`estimate, ${task}`, TITLES[task]])],
      names.map((name) => [
        name,
        ...rankings.flatMap(({ labels }) => {
          const own = labels.find((label) => label.name === name);
          return own === undefined ? ["-", "-"] : [own.estimate.toFixed(3), (100 * own.error).toFixed(2)];
        }),
      ]),
    ),
    "",
  ];
}

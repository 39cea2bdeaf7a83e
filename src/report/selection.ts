import type { Agreement, CandidateEstimate, Choice, Convergence } from "../methods/pretext/select.ts";
import { barChart, boxplot, scatter } from "./charts.ts";
import { fixed } from "./format.ts";
import { html } from "./html.ts";
import { page, type Section } from "./page.ts";
import { figure, half } from "./svg.ts";
import { table } from "./tables.ts";
import { type TernaryChart, ternaryChart } from "./ternary.ts";

export interface SelectionReport {
  readonly task: string;
  readonly corpus: string;
  readonly command: string;
  readonly facts: readonly (readonly [string, string])[];
  readonly warnings: readonly string[];
  readonly estimates: readonly CandidateEstimate[];
  readonly choices: readonly Choice[];
  readonly convergence?: Convergence;
  readonly ternary?: TernaryChart;
  readonly agreement?: Agreement;
  /** Errors of models trained on single candidates, by name. */
  readonly errors?: Readonly<Record<string, number>>;
}

/** The page of a selection of pretext tasks. */
export async function selectionReport(input: SelectionReport): Promise<string> {
  const sections = [
    await estimatesSection(input),
    choicesSection(input),
    await convergenceSection(input),
    await ternarySection(input),
    await agreementSection(input),
    reproduceSection(input),
  ];
  return page({
    kicker: "Pretext tasks",
    title: `What to learn to predict for ${input.task}`,
    summary: `How independent candidate labels are of the speech, given the classes of the task, on ${input.corpus}: the lower, the more useful.`,
    notices: input.warnings,
    facts: input.facts,
    sections: sections.filter((section) => section !== undefined),
  });
}

/** openSMILE's names without their endings, which say how values were smoothed. */
const short = (name: string) => name.replace(/_sma\d?(nz)?$/, "").replace(/^pcm_(fftMag_)?/, "");

async function estimatesSection({ estimates }: SelectionReport): Promise<Section> {
  const ascending = [...estimates].sort((a, b) => a.value - b.value);
  const withBounds = ascending.every(({ low }) => low !== undefined);
  const drawing = await figure(
    (size) =>
      barChart(
        {
          categories: ascending.map(({ name }) => short(name)),
          series: [
            {
              name: "estimate",
              values: ascending.map(({ value }) => value),
              ...(withBounds && {
                low: ascending.map(({ low }) => low!),
                high: ascending.map(({ high }) => high!),
              }),
            },
          ],
          value: { label: "conditional HSIC", min: 0 },
          horizontal: true,
        },
        { ...size, height: 60 + 28 * ascending.length },
      ),
    { label: "Estimate of each candidate with its interval" },
  );
  return {
    title: "Each candidate alone",
    lead: withBounds ? "Whiskers are 95 % bootstrap intervals over classes." : undefined,
    body: html`${drawing}${table({
      columns: [
        { label: "candidate" },
        { label: "estimate", number: true },
        { label: "95 % interval", number: true },
        { label: "kernel's typical -2 log", number: true },
      ],
      rows: ascending.map(({ name, value, low, high, scale }) => [
        name,
        fixed(value, 4),
        low === undefined ? "" : `${fixed(low, 4)} to ${fixed(high!, 4)}`,
        fixed(scale, 2),
      ]),
    })}`,
  };
}

function choicesSection({ choices, estimates }: SelectionReport): Section {
  const stable = choices.filter(({ stability }) => stability !== undefined);
  return {
    title: "Weights",
    lead: "Weights of sparsemax and softmax sum to 1; the other methods take a candidate or leave it.",
    body: html`${table({
      columns: [{ label: "candidate" }, ...choices.map(({ method }) => ({ label: method, number: true }))],
      rows: [
        ...estimates.map(({ name }) => [name, ...choices.map(({ weights }) => fixed(weights[name], 3))]),
        [
          "estimate of the group",
          ...choices.map(({ value }) => (value === undefined ? "" : fixed(value, 4))),
        ],
      ],
    })}${
      stable.length === 0
        ? undefined
        : table({
            caption: "How far restarts agree: share of them in which a candidate has a weight, and its range",
            columns: [
              { label: "candidate" },
              ...stable.map(({ method }) => ({ label: method, number: true })),
            ],
            rows: [
              ...estimates.map(({ name }) => [
                name,
                ...stable.map(({ stability }) => {
                  const [low, high] = stability!.range[name];
                  return `${fixed(100 * stability!.support[name], 0)} %, ${fixed(low, 3)} to ${fixed(high, 3)}`;
                }),
              ]),
              [
                "restarts with the best one's support",
                ...stable.map(
                  ({ stability }) => `${fixed(100 * stability!.agreement, 0)} % of ${stability!.restarts}`,
                ),
              ],
            ],
          })
    }`,
  };
}

async function convergenceSection({ convergence }: SelectionReport): Promise<Section | undefined> {
  if (convergence === undefined) return undefined;
  const { of, sizes, values } = convergence;
  const figures = await Promise.all(
    Object.entries(values).map(([name, draws]) =>
      figure(
        (size) => boxplot({ categories: sizes.map(String), values: draws, y: { label: short(name) } }, size),
        {
          label: `Estimates of ${name} by number of ${of}`,
          sizes: { wide: half, narrow: half },
        },
      ),
    ),
  );
  return {
    title: "How many are enough",
    lead: `Ten random subsets a size; the horizontal axis is the number of ${of}.`,
    body: html`${figures}`,
  };
}

async function ternarySection({ ternary }: SelectionReport): Promise<Section | undefined> {
  if (ternary === undefined) return undefined;
  const drawing = await figure((size) => ternaryChart(ternary, { ...size, height: 360 }), {
    label: `The estimate over the weights of ${ternary.corners.join(", ")}`,
    caption: "Each corner gives all weight to one candidate; the circle marks the lowest value.",
  });
  return { title: "Between three candidates", body: drawing };
}

async function agreementSection({
  agreement,
  errors,
  estimates,
}: SelectionReport): Promise<Section | undefined> {
  if (agreement === undefined || errors === undefined) return undefined;
  const drawing = await figure(
    (size) =>
      scatter(
        {
          x: { label: "estimate" },
          y: { label: "error of a model trained on the candidate alone" },
          series: [
            {
              name: "candidates",
              points: estimates
                .filter(({ name }) => errors[name] !== undefined)
                .map(({ name, value }) => ({ x: value, y: errors[name], label: short(name) })),
            },
          ],
        },
        size,
      ),
    { label: "Downstream error against the estimate" },
  );
  return {
    title: "Against measured errors",
    lead: `Spearman's rho ${fixed(agreement.spearman, 2)}, Kendall's tau-b ${fixed(agreement.kendall, 2)} over ${agreement.candidates.length} candidates; the method expects both to be positive.`,
    body: drawing,
  };
}

const reproduceSection = ({ command }: SelectionReport): Section => ({
  title: "Again",
  body: html`<pre><code>${command}</code></pre>`,
});

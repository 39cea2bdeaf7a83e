import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { barChart, boxplot, heatMap, lineChart, scatter } from "../../src/report/charts.ts";
import { fixed, formatDuration, formatNumber, grouped } from "../../src/report/format.ts";
import { escapeHtml, html, raw } from "../../src/report/html.ts";
import { modelCard } from "../../src/report/model-card.ts";
import { page } from "../../src/report/page.ts";
import { recordingFigure } from "../../src/report/recording.ts";
import { type RunReportInput, runReport } from "../../src/report/run-report.ts";
import { smooth, thin } from "../../src/report/series.ts";
import { narrow, wide } from "../../src/report/svg.ts";
import { alignmentTable } from "../../src/report/tables.ts";
import { checkMarkup } from "./markup.ts";

const hostile = `</title></svg><script>alert("x")</script><img src=x onerror='y'>&amp;]]>`;

const input: RunReportInput = {
  title: "Grades",
  summary: "A test.",
  simulated: "A program spoke.",
  seed: 7,
  seconds: 95,
  metrics: [
    {
      name: "accuracy",
      value: 0.7349,
      percent: true,
      low: 0.62,
      high: 0.841,
      by: "speaker",
      baselines: [{ name: "chance", value: 0.2 }],
    },
    { name: "kappa", value: 0.8812, better: "higher", low: Number.NaN, high: Number.NaN },
  ],
  confusion: [
    {
      labels: ["a", "b"],
      counts: [
        [3, 1],
        [0, 1250],
      ],
    },
  ],
  graded: [
    {
      id: "u1",
      samples: Float32Array.from({ length: 8000 }, (_, i) => Math.sin(i / 5) / 3),
      sampleRate: 16000,
      heard: [{ symbol: "IH", startSeconds: 0.1, endSeconds: 0.2, score: 0.9 }],
      expected: ["IH", "T"],
      predicted: "a",
      truth: "b",
      probabilities: [
        { label: "a", value: 0.7 },
        { label: "b", value: 0.3 },
      ],
    },
  ],
  symbols: "phonemes",
  transcripts: [{ id: "u2", speaker: "s1", expected: ["a", "b"], heard: ["a", "c", "d"] }],
  curves: [
    { objective: "total", split: "train", points: Array.from({ length: 300 }, (_, i) => [i, 3 / (i + 1)]) },
    { objective: "total", split: "validation", points: [[299, 1]] },
    { objective: "severity", split: "train", points: [[1, Number.NaN]] },
  ],
  schedules: [
    {
      name: "learning rate",
      points: [
        [0, 0],
        [300, 1e-4],
      ],
    },
  ],
  marks: [{ step: 200, label: "best" }],
  parts: [{ name: "train", utterances: 12403, speakers: 5, seconds: 61 }],
  reproduce: ["npm run demo"],
  recipe: "seed: 7",
  environment: { memory: "4 GB" },
  versions: { voxsmith: "0.1.0" },
};

/** Replaces every text of a value by the hostile one. */
function poison(value: unknown): unknown {
  if (typeof value === "string") return value === "train" || value === "validation" ? value : hostile;
  if (Array.isArray(value)) return value.map(poison);
  if (value && typeof value === "object" && !ArrayBuffer.isView(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, v]) => [key, key === "better" ? v : poison(v)]),
    );
  return value;
}

describe("escaping", () => {
  test("text becomes text, markup stays markup", () => {
    expect(escapeHtml(`<&>"'\u0000\ud800`)).toBe("&#60;&#38;&#62;&#34;&#39;\ufffd\ufffd");
    expect(escapeHtml("ɹ 语 😀")).toBe("ɹ 语 😀");
    expect(html`<p>${["<", raw("<b>x</b>"), 2, undefined]}</p>`.markup).toBe("<p>&#60;<b>x</b>2</p>");
  });

  test("no text of a run report's input reaches the page as markup", async () => {
    const text = await runReport(poison(input) as RunReportInput);
    expect(text).not.toMatch(/<script|<img|onerror='/i);
    checkMarkup(text);
    expect(text).toContain("&#60;script&#62;");
  });

  test("nor that of any chart", async () => {
    const axis = { label: hostile };
    const drawings = [
      await lineChart({
        x: axis,
        y: axis,
        series: [
          {
            name: hostile,
            points: [
              [0, 1],
              [1, 2],
            ],
          },
        ],
        marks: [{ x: 1, label: hostile }],
      }),
      await barChart({
        categories: [hostile],
        series: [
          { name: hostile, values: [1] },
          { name: "b", values: [2] },
        ],
        value: axis,
      }),
      await heatMap({
        rows: [hostile],
        columns: [hostile],
        values: [[1]],
        rowLabel: hostile,
        columnLabel: hostile,
        format: () => hostile.slice(0, 4),
      }),
      await scatter({
        x: axis,
        y: axis,
        series: [{ name: hostile, points: [{ x: 1, y: 1, label: hostile }] }],
      }),
      await boxplot({ categories: [hostile], values: [[1, 2, 3]], y: axis }),
      recordingFigure(
        {
          samples: new Float32Array(4000),
          sampleRate: 8000,
          heard: [{ symbol: hostile, startSeconds: 0, endSeconds: 0.1 }],
        },
        narrow,
      ),
    ];
    for (const svg of drawings) {
      expect(svg).not.toMatch(/<script|<img|<\/title>/i);
      checkMarkup(svg);
    }
  });

  test("a model card's front matter parses and its text holds no markup of users", () => {
    const card = modelCard({
      name: hostile,
      summary: "two\nlines *and* [a](b)",
      license: "apache-2.0",
      baseModel: "facebook/wav2vec2-base",
      language: ["en"],
      simulated: true,
      metrics: [...input.metrics!, { name: "words: word error rate", value: 0.2 }],
      data: { description: hostile, parts: input.parts },
      usage: { language: "sh", code: "echo ```" },
    });
    const [, front, body] = card.split(/^---$/m);
    expect(parse(front)).toMatchObject({
      license: "apache-2.0",
      base_model: "facebook/wav2vec2-base",
      metrics: ["accuracy", "kappa", "wer"],
      "model-index": [{ name: hostile }],
    });
    expect(body).not.toMatch(/(^|[^\\])<(script|img)/);
    expect(body).toContain("two lines \\*and\\* \\[a\\](b)");
    expect(body).toContain("> **Simulated data.**");
    expect(body).toContain("| accuracy |  | 73.5 % | 62.0 % to 84.1 % | 20.0 % |  |");
    expect(body).toContain("````sh\necho ```\n````");
  });
});

describe("pages", () => {
  test("a page is one well-formed document that refers to nothing outside itself", async () => {
    const text = await runReport(input);
    checkMarkup(text);
    expect(text.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(
      /https?:|@import|url\((?!#)|<link|<script/,
    );
    for (const part of [
      "Simulated data.",
      "A program spoke.",
      "73.5",
      "62.0 to 84.1",
      "1,250",
      "1 min 35 s",
      "0.881",
      "npm run demo",
    ])
      expect(text).toContain(part);
    const ids = [...text.matchAll(/<section id="([^"]+)"/g)].map(([, id]) => id);
    expect(ids).toEqual([
      "results",
      "confusions",
      "a-recording-graded",
      "what-it-heard",
      "learning",
      "data",
      "making-it-again",
    ]);
    for (const id of ids) expect(text).toContain(`href="#${id}"`);
  });

  test("the same input gives the same bytes", async () => {
    expect(await runReport(input)).toBe(await runReport(input));
  });

  test("what the input leaves out is not on the page", async () => {
    const text = await runReport({ title: "Bare" });
    checkMarkup(text);
    expect(text).not.toMatch(/Simulated|<section|<nav|undefined|NaN/);
  });

  test("sections of one name get anchors of their own", () => {
    const text = page({ title: "t", sections: ["a b", "a b", "语"].map((title) => ({ title, body: "x" })) });
    expect([...text.matchAll(/<section id="([^"]+)"/g)].map(([, id]) => id)).toEqual([
      "a-b",
      "a-b-2",
      "section",
    ]);
  });

  test("an alignment marks each kind of error once", () => {
    const { markup } = alignmentTable([..."abcdefgh"], [..."axcdeifg"]);
    expect([...markup.matchAll(/<li class="(\w+)"/g)].map(([, kind]) => kind).sort()).toEqual([
      "deletion",
      "insertion",
      "substitution",
    ]);
  });
});

describe("charts", () => {
  const x = { label: "step" };

  test("draw their data: one path a series, gaps where values are not finite", async () => {
    const svg = await lineChart({
      x,
      y: { label: "loss", log: true },
      series: [
        {
          name: "train",
          points: [
            [0, 10],
            [1, Number.NaN],
            [2, 5],
            [3, 1],
          ],
        },
        {
          name: "validation",
          dashed: true,
          points: [
            [0, 0],
            [3, 1],
          ],
        },
      ],
    });
    for (const word of ["step", "loss", "train", "validation"]) expect(svg).toContain(`>${word}</text>`);
    expect(svg).not.toContain("NaN");
    expect(svg).toContain("stroke-dasharray");
    expect(svg).toContain("var(--c1,");
  });

  test("a heat map shows every value and its shade", async () => {
    const svg = await heatMap({
      rows: ["r1", "r2"],
      columns: ["c1", "c2"],
      values: [
        [1, 2],
        [3, 4],
      ],
      rowLabel: "true",
      columnLabel: "called",
    });
    for (const n of [1, 2, 3, 4]) expect(svg).toContain(`>${n}</text>`);
    expect(
      new Set([...svg.matchAll(/fill-opacity="([\d.]+)"/g)].map(([, v]) => v)).size,
    ).toBeGreaterThanOrEqual(3);
  });

  test("survive nothing to draw", async () => {
    for (const svg of [
      await lineChart({ x, y: x, series: [] }),
      await boxplot({ categories: ["a"], values: [[]], y: x }),
      await scatter({ x, y: x, series: [] }),
      recordingFigure({ samples: new Float32Array(0), sampleRate: 16000 }, wide),
    ]) {
      checkMarkup(svg);
      expect(svg).not.toMatch(/NaN|Infinity/);
    }
  });

  test("whiskers span their interval", async () => {
    const chart = (high: number) =>
      barChart({
        categories: ["a"],
        series: [{ name: "s", values: [5], low: [4], high: [high] }],
        value: { label: "v", min: 0, max: 10 },
      });
    const span = (svg: string) => {
      const whisker = svg.match(/d="M(\d+\.?\d*) (\d+\.?\d*)L\1 (\d+\.?\d*)" [^>]*stroke="var\(--ink/)!;
      return Math.abs(Number(whisker[2]) - Number(whisker[3]));
    };
    expect(span(await chart(8)) / span(await chart(6))).toBeCloseTo(2, 1);
  });

  test("a tone stands at its place in the spectrogram and silence is clear", async () => {
    const { spectrogram } = await import("../../src/report/spectrogram.ts");
    const tone = Float32Array.from({ length: 16000 }, (_, i) =>
      i < 8000 ? 0 : Math.sin((2 * Math.PI * 2000 * i) / 16000),
    );
    const { opacity, bins, columns, topHz } = spectrogram(tone, 16000);
    expect(topHz).toBe(8000);
    const column = (t: number) =>
      Array.from({ length: bins }, (_, b) => opacity[b * columns + Math.floor(t * columns)]);
    const loud = column(0.75);
    expect(loud.indexOf(Math.max(...loud))).toBe(bins - 1 - (2000 * bins) / 8000);
    expect(Math.max(...column(0.25))).toBe(0);
  });

  test("long recordings are broken into lines, and no symbol is lost or drawn twice", () => {
    const heard = Array.from({ length: 40 }, (_, i) => ({
      symbol: `s${i}`,
      startSeconds: i / 4,
      endSeconds: (i + 1) / 4,
    }));
    const svg = recordingFigure({ samples: new Float32Array(80000), sampleRate: 8000, heard }, narrow);
    expect(svg.match(/<image/g)?.length).toBe(6);
    for (const { symbol } of heard) expect(svg.split(`>${symbol}<`).length).toBe(2);
  });
});

describe("numbers and curves", () => {
  test("numbers as people read them", () => {
    expect([0, 0.5, 12403, 1e-4, -2.345, 1.5e9, Number.NaN].map(formatNumber)).toEqual([
      "0",
      "0.5",
      "12,403",
      "1e−4",
      "−2.35",
      "1.5e9",
      "n/a",
    ]);
    expect(fixed(-0.25, 1)).toBe("−0.3");
    expect(grouped(1234567)).toBe("1,234,567");
    expect([5, 60, 95, 7260].map(formatDuration)).toEqual(["5 s", "1 min", "1 min 35 s", "2 h 1 min"]);
  });

  test("smoothing keeps a straight line and the ends; thinning keeps the extremes", () => {
    const line = Array.from({ length: 500 }, (_, i) => [i, 2 * i] as const);
    for (const [px, py] of smooth(line)) expect(py).toBeCloseTo(2 * px, 9);
    expect(smooth(line).map(([px]) => px)).toEqual(line.map(([px]) => px));
    const spike = line.map(([px], i) => [px, i === 333 ? 9 : i === 100 ? -4 : 0] as const);
    const few = thin(spike, 60);
    expect(few.length).toBeLessThanOrEqual(62);
    expect(Math.max(...few.map(([, y]) => y))).toBe(9);
    expect(Math.min(...few.map(([, y]) => y))).toBe(-4);
    expect(few.map(([px]) => px)).toEqual([...few.map(([px]) => px)].sort((a, b) => a - b));
  });
});

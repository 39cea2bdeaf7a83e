import type { Assessment, Place, Pooled, SpeakerAssessment } from "../methods/severity/assess/assess.ts";
import { LIMITS } from "../methods/severity/assess/quality.ts";
import { barChart, lineChart } from "./charts.ts";
import { fixed, formatNumber } from "./format.ts";
import { type Content, type Html, html } from "./html.ts";
import { page, type Section } from "./page.ts";
import { drawnSymbols, recordingFigure, type TimedSymbol } from "./recording.ts";
import { figure, narrow } from "./svg.ts";
import { alignmentColumns, alignmentKey, table } from "./tables.ts";

/** The page of one speaker's assessment, for clinicians: grade first, then why, then what it may not be used for. */
export async function assessmentPage(input: SpeakerAssessment): Promise<string> {
  const { recordings, speaker, pooled, reference, label } = input;
  const sections: (Section | undefined)[] = [
    await pooledSection(input),
    await sessionSection(input),
    await recordingsSection(input),
    placesSection(input),
    howSection(input),
  ];
  return page({
    title: speaker === undefined ? "Speech assessment" : `Speech assessment: ${speaker}`,
    kicker: "voxsmith · research aid",
    summary: headline(pooled, recordings.length, label),
    notices: [
      html`<strong>A research aid, not a medical device.</strong> It is a program's opinion of recordings, learned from ${
        reference === undefined ? "the speakers of one study" : `${reference.speakers} speakers of one study`
      }. It must not decide on a diagnosis, a treatment, a benefit or a job. Do not use it for another language, for children if it learned from adults, for other tasks than it was trained on (such as free speech where it learned from read sentences), or over a telephone line.`,
      ...(reference?.simulated
        ? [
            html`<strong>Trained on simulated data.</strong> A program made the impaired speech that it learned from: its grades say nothing about people.`,
          ]
        : []),
    ],
    facts: [
      ["Recordings", `${pooled.recordings} graded of ${recordings.length}`],
      ["Model", input.model],
      ...(input.text === undefined ? [] : [["Text read", input.text] as const]),
    ],
    sections: sections.filter((section) => section !== undefined),
    footer: "Made by voxsmith on this machine. No recording left it; this file loads nothing from anywhere.",
  });
}

const percent = (value: number) => `${fixed(100 * value, 0)}\u00a0%`;

function headline({ grade, probabilities, recordings }: Pooled, all: number, label: string): string {
  if (grade === undefined)
    return all === 1
      ? "No grade: the recording cannot be graded. The reason stands below."
      : "No grade: none of the recordings can be graded. The reasons stand below.";
  const sure = Math.max(...probabilities);
  return `${label} ${grade}, probability ${percent(sure)}, from ${recordings} of ${all} recording${all === 1 ? "" : "s"}.`;
}

/** Probabilities of the classes as bars. */
function probabilityFigure(
  classes: readonly string[],
  probabilities: readonly number[],
  label: string,
): Promise<Html> {
  const height = 46 + 26 * classes.length;
  return figure(
    (size) =>
      barChart(
        {
          categories: classes,
          series: [{ name: "probability", values: probabilities.map((p) => 100 * p) }],
          value: { label: "probability", min: 0, max: 100, format: (v) => `${fixed(v, 0)}\u00a0%` },
          horizontal: true,
          highlight: probabilities.indexOf(Math.max(...probabilities)),
        },
        size,
      ),
    {
      label: `${label}: ${classes.map((name, k) => `${name} ${percent(probabilities[k])}`).join(", ")}`,
      sizes: { wide: { width: 760, height }, narrow: { width: narrow.width, height } },
    },
  );
}

async function pooledSection({
  pooled,
  classes,
  label,
  recordings,
}: SpeakerAssessment): Promise<Section | undefined> {
  if (pooled.grade === undefined) return undefined;
  const votes = classes.flatMap((name, k) => (pooled.votes[k] > 0 ? [`${name}: ${pooled.votes[k]}`] : []));
  return {
    title: recordings.length > 1 ? "All recordings together" : "The grade",
    lead:
      recordings.length > 1
        ? `Mean of the calibrated probabilities of ${pooled.recordings} recordings. Single recordings were called ${votes.join(", ")}.`
        : "Calibrated probabilities of the grades.",
    body: await probabilityFigure(classes, pooled.probabilities, `Probabilities of ${label}`),
  };
}

async function sessionSection({ sessions, classes, label }: SpeakerAssessment): Promise<Section | undefined> {
  if (sessions.length < 2) return undefined;
  const points = sessions.map(({ place }, i): [number, number] => [i + 1, place]);
  return {
    title: "Change over sessions",
    lead: `Where each session's probabilities expect the speaker on the scale, 0 for "${classes[0]}" and ${classes.length - 1} for "${classes[classes.length - 1]}". One session is one point: small changes are chance.`,
    body: html`${await figure(
      (size) =>
        lineChart(
          {
            x: {
              label: "session",
              min: 1,
              max: sessions.length,
              format: (v) => sessions[Math.round(v) - 1]?.session ?? "",
            },
            y: { label: `expected ${label}`, min: 0, max: classes.length - 1 },
            series: [{ name: label, points, markers: true }],
          },
          size,
        ),
      { label: `Expected ${label} by session` },
    )}${table({
      columns: [
        { label: "Session" },
        { label: "Recordings", number: true },
        { label: "Grade" },
        { label: "Expected", number: true },
      ],
      rows: sessions.map(({ session, recordings, grade = "none", place }) => [
        session,
        recordings,
        grade,
        fixed(place, 2),
      ]),
      compact: true,
    })}`,
  };
}

async function recordingsSection(input: SpeakerAssessment): Promise<Section> {
  const bodies: Html[] = [];
  for (const one of input.recordings) bodies.push(await recordingBody(one, input));
  return {
    title: input.recordings.length === 1 ? "The recording" : "The recordings",
    lead: "Waveform, spectrogram and the sounds heard, each where it was heard; paler means less certain.",
    body: bodies,
  };
}

async function recordingBody(one: Assessment, { classes, recordings }: SpeakerAssessment): Promise<Html> {
  const { name, quality, grade, abstained, heard, alignment, probabilities, session } = one;
  const verdict = [
    html`<b>${name}</b>`,
    ...(session === undefined ? [] : [html` · session ${session}`]),
    html` · ${fixed(quality.seconds, 1)} s`,
    grade === undefined
      ? html` · <b>not graded</b>`
      : html` · called <b>${grade}</b> (${percent(Math.max(...probabilities))})`,
  ];
  const drawing = await figure(
    (size) => recordingFigure({ ...one, heard: drawnSymbols(marked(one)) }, size),
    {
      label: `Waveform and spectrogram of ${name} with the sounds heard`,
    },
  );
  return html`<p class="utterance">${verdict}</p>
${abstained.length > 0 ? html`<p class="notice">No grade is given, since ${abstained.join("; and ")}.</p>` : undefined}
${drawing}${
  grade !== undefined && recordings.length > 1
    ? await probabilityFigure(classes, probabilities, `Probabilities for ${name}`)
    : undefined
}
${
  alignment === undefined
    ? html`<p>Heard: ${heard.map(({ symbol }) => symbol).join(" ") || "nothing"}</p>`
    : html`<h3>Expected and heard</h3>${alignmentColumns(alignment)}${alignmentKey}`
}`;
}

/** Heard symbols with what the alignment says of each. */
function marked({ heard, alignment }: Assessment): TimedSymbol[] {
  const columns = alignment?.filter(({ op }) => op !== "deletion");
  return heard.map((symbol, i) => ({ ...symbol, op: columns?.[i].op }));
}

function placesSection({ places, classes, reference, label }: SpeakerAssessment): Section | undefined {
  if (reference === undefined)
    return {
      title: "Clinical features",
      body: html`<p>The model's folder has no reference of its training speakers: run <code>voxsmith assess</code> once with <code>--data</code>, the folder of its corpus, and features are shown with the speaker's place among them.</p>`,
    };
  if (places.length === 0) return undefined;
  const columns = [
    { label: "Feature" },
    { label: "Here", number: true },
    ...classes.map((name) => ({ label: `${label} ${name}`, number: true })),
    { label: "Usual for" },
  ];
  const cell = ({ median, low, high }: Place["grades"][number]): Content =>
    Number.isNaN(median)
      ? "–"
      : html`${formatNumber(median)}<br><span class="note">${formatNumber(low)} to ${formatNumber(high)}</span>`;
  return {
    title: "Clinical features",
    lead: `Means over the recordings, beside the training speakers of each grade: median, and the range of the middle four fifths. Grades whose range holds the value are named last; a feature alone grades nobody.`,
    body: table({
      columns,
      rows: places.map(({ feature, value, grades, within }) => [
        feature,
        html`<strong>${formatNumber(value)}</strong>`,
        ...grades.map(cell),
        within.join(", ") || "none",
      ]),
    }),
  };
}

function howSection({ temperature, reference, recordings }: SpeakerAssessment): Section {
  const { utterances, temperature: t, errorBefore, errorAfter } = temperature;
  return {
    title: "How this was judged",
    body: html`<p>${
      utterances === 0
        ? "The model's folder has no validation predictions: its probabilities are not calibrated."
        : `Probabilities are calibrated with a temperature of ${formatNumber(t)}, fitted on ${utterances} validation recordings of speakers that the model did not learn from (calibration error there ${percent(errorBefore)} before, ${percent(errorAfter)} after).`
    }</p>
<p>No grade is given to a recording with less than ${LIMITS.speechSeconds} s of speech, whose levels span less than ${LIMITS.range} dB from the 5th to the 95th percentile (noise fills the gaps between words), with more than ${100 * LIMITS.clipped} % of its samples in flat tops (clipping), ${
      reference === undefined
        ? "and would be given to one that is unlike the training data, which cannot be judged without a reference."
        : "or that is unlike the training data: the mean of the model's last hidden state, or the long-term spectrum, lies further from the mean of the training recordings (root mean square of standardised differences) than 1.25 times what 99 of 100 validation recordings do."
    }</p>
${
  reference === undefined
    ? undefined
    : table({
        columns: [
          { label: "Recording" },
          { label: "Speech (s)", number: true },
          { label: "Levels (dB)", number: true },
          { label: "Clipped (%)", number: true },
          { label: "Representation", number: true },
          { label: "Spectrum", number: true },
        ],
        rows: recordings.map(({ name, quality, likeness }) => [
          name,
          fixed(quality.speechSeconds, 1),
          fixed(quality.range, 0),
          fixed(100 * quality.clipped, 2),
          ...(["representation", "spectrum"] as const).map((kind) =>
            likeness === undefined
              ? ""
              : `${fixed(likeness[kind].distance, 2)} of ${fixed(likeness[kind].limit, 2)}`,
          ),
        ]),
        compact: true,
      })
}`,
  };
}

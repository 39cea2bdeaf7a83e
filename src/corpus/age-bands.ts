/** Ages 6 to 33 in four bands of 12 to 16 speakers; nobody of speechocean762's part here is between them. */
const BANDS: readonly [name: string, from: number, to: number][] = [
  ["6-8", 6, 8],
  ["9-13", 9, 13],
  ["19-21", 19, 21],
  ["22-33", 22, 33],
];

export const ageBands: readonly string[] = BANDS.map(([name]) => name);

/** The band of an age; undefined where there is none. */
export const ageBand = (age: number): string | undefined =>
  BANDS.find(([, from, to]) => age >= from && age <= to)?.[0];

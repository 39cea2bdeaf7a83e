/** Numbers as people read them. */

/** About three significant digits, thousands grouped, exponents only where a plain number would be long. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "n/a" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) {
    const [mantissa, exponent] = value.toExponential(2).split("e");
    return minus(`${Number(mantissa)}e${Number(exponent)}`);
  }
  if (size >= 1000) return grouped(Math.round(value));
  return minus(String(Number(value.toPrecision(3))));
}

/** A fixed number of decimals, with a true minus sign: numbers that stand under each other. */
export const fixed = (value: number, digits: number): string =>
  Number.isFinite(value) ? minus(value.toFixed(digits)) : formatNumber(value);

/** An integer with its thousands apart: 12,403. */
export const grouped = (value: number): string => minus(String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ","));

/** 95 s -> "1 min 35 s". */
export function formatDuration(seconds: number): string {
  if (seconds < 60) return `${formatNumber(seconds)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h} h ${m} min` : s > 0 ? `${m} min ${s} s` : `${m} min`;
}

const minus = (text: string) => text.replaceAll("-", "−");

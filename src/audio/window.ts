export type WindowName = "hann" | "hamming" | "povey" | "blackman" | "rectangular";

/**
 * A window of `size` samples. Periodic windows (the default of STFTs) leave out the last sample of a symmetric one of
 * `size + 1`; Kaldi's are symmetric. Povey's is the symmetric Hann window to the power 0.85.
 */
export function windowFunction(name: WindowName, size: number, periodic = true): Float64Array {
  const last = periodic ? size : size - 1;
  return Float64Array.from({ length: size }, (_, n) => {
    const angle = last > 0 ? (2 * Math.PI * n) / last : 0;
    switch (name) {
      case "hann":
        return 0.5 - 0.5 * Math.cos(angle);
      case "hamming":
        return 0.54 - 0.46 * Math.cos(angle);
      case "povey":
        return (0.5 - 0.5 * Math.cos(angle)) ** 0.85;
      case "blackman":
        return 0.42 - 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle);
      case "rectangular":
        return 1;
    }
  });
}

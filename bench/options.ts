/** What `npm run bench -- NAME` was asked for. Each bench takes what it knows of. */
export interface BenchOptions {
  /** One JSON object a line. */
  readonly json: boolean;
  readonly rounds: number;
  readonly threads: number;
  /** Only what has this in its name; all where empty. */
  readonly only: string;
  /** A Python with the other side's packages: the same work there, in alternating rounds. */
  readonly peer?: string;
  /** How much of the whole is done, to try it; the bench's own default where undefined. */
  readonly share?: number;
  /** The size of the model, by name; the bench's own default where undefined. */
  readonly upstream?: string;
}

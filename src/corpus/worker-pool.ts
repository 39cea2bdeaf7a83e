import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { parentPort, type Transferable, Worker } from "node:worker_threads";
import { RunError, UserError } from "../errors.ts";

interface Request<Task> {
  id: number;
  task: Task;
}

type Reply<Result> = { id: number; result: Result } | { id: number; error: string; user: boolean };

/**
 * Starts a worker thread on a module of this project. The sources run as TypeScript in a checkout and in tests and as
 * JavaScript once built, so the ending follows the importing module's. tsx does not reach into new threads by itself,
 * nor through `--import` (its loader registers in the main thread only), so a TypeScript thread registers it first.
 *
 * @param importer the importing module's `import.meta.url`
 * @param name the worker module beside it, without an ending
 */
export function startWorker(importer: string, name: string): Worker {
  const execArgv: string[] = []; // flags of the main program (--input-type, test runners' loaders) are not for threads
  if (!importer.endsWith(".ts")) return new Worker(new URL(`./${name}.js`, importer), { execArgv });
  const module = new URL(`./${name}.ts`, importer).href;
  // The CommonJS form of tsx/esm/api looks for its hooks in a wrong folder (4.23), so the other one is named by path.
  const tsx = new URL("./esm/api/index.mjs", pathToFileURL(createRequire(importer).resolve("tsx"))).href;
  const program = `import(${JSON.stringify(tsx)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(module)});
  });`;
  return new Worker(program, { eval: true, execArgv });
}

/** Runs tasks on worker threads that answer with `serve`. Results come in the order of completion, by promise. */
export class WorkerPool<Task, Result> {
  readonly #workers: Worker[];
  readonly #pending = new Map<number, { worker: number; resolve(r: Result): void; reject(e: Error): void }>();
  readonly #load: number[];
  #next = 0;
  #closed = false;

  constructor(importer: string, name: string, threads: number) {
    this.#workers = Array.from({ length: threads }, () => startWorker(importer, name));
    this.#load = this.#workers.map(() => 0);
    this.#workers.forEach((worker, index) => {
      worker.unref(); // a pool that is still open must not keep a finished program alive
      worker.on("message", (reply: Reply<Result>) => this.#settle(reply));
      worker.on("error", (error) => this.#fail(index, error));
      worker.on("exit", () => this.#fail(index, new RunError("a worker thread stopped unexpectedly")));
    });
  }

  run(task: Task): Promise<Result> {
    if (this.#closed) return Promise.reject(new RunError("the worker pool is closed"));
    const worker = this.#load.indexOf(Math.min(...this.#load));
    const id = this.#next++;
    const promise = new Promise<Result>((resolve, reject) => {
      this.#pending.set(id, { worker, resolve, reject });
    });
    if (this.#load[worker]++ === 0) this.#workers[worker].ref();
    this.#workers[worker].postMessage({ id, task } satisfies Request<Task>);
    return promise;
  }

  /** Stops the threads; tasks that are still under way are rejected. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { reject } of this.#pending.values()) reject(new RunError("the worker pool was closed"));
    this.#pending.clear();
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #settle(reply: Reply<Result>): void {
    const task = this.#pending.get(reply.id);
    if (task === undefined) return;
    this.#pending.delete(reply.id);
    if (--this.#load[task.worker] === 0) this.#workers[task.worker].unref();
    if ("error" in reply) task.reject(reply.user ? new UserError(reply.error) : new RunError(reply.error));
    else task.resolve(reply.result);
  }

  #fail(index: number, error: Error): void {
    for (const [id, { worker, reject }] of this.#pending) {
      if (worker !== index) continue;
      this.#pending.delete(id);
      reject(error);
    }
    this.#load[index] = Number.POSITIVE_INFINITY; // takes no more tasks
  }
}

/** In a worker module: answers each task with `handle`; the buffers that `transfers` names move without a copy. */
export function serve<Task, Result>(
  handle: (task: Task) => Promise<Result>,
  transfers: (result: Result) => Transferable[] = () => [],
): void {
  const port = parentPort;
  if (port === null) throw new RunError("this module only runs as a worker thread");
  port.on("message", async ({ id, task }: Request<Task>) => {
    try {
      const result = await handle(task);
      port.postMessage({ id, result }, transfers(result));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      port.postMessage({ id, error: message, user: error instanceof UserError });
    }
  });
}

import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { arch, availableParallelism, cpus, homedir, platform, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { ownVersion, packageVersion } from "../train/versions.ts";
import { probeProvider } from "./doctor-probe.ts";

export interface Check {
  name: string;
  ok: boolean;
  /** Without it nothing can be trained. */
  required: boolean;
  /** What was found, for people. */
  found: string;
  /** How to get what is missing. */
  hint?: string;
  /** What was found, for programs. */
  value?: unknown;
}

// A GPU driver that does not answer within this many seconds counts as absent.
const PROBE_SECONDS = 20;
// The full-size training step of docs/performance.md peaks at 2.9 GB.
const ROOMY_MEMORY = 4e9;
const ROOMY_DISK = 2e9;

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;

/** Looks at everything; a hint stays only where something is missing. */
export async function examine(): Promise<Check[]> {
  const checks = [
    { name: "voxsmith", ok: true, required: true, found: ownVersion(), value: ownVersion() },
    node(process.versions.node),
    ...(await runtime()),
    processor(),
    memory(),
    disk("disk", process.cwd()),
    espeak(),
    hubCache(),
  ];
  return checks.map(({ hint, ...check }) => (check.ok ? check : { ...check, hint }));
}

/** Node.js 20.19 is the first that loads ES modules from CommonJS without a flag, which dependencies need. */
export function node(version: string): Check {
  const [major, minor] = version.split(".").map(Number);
  return {
    name: "Node.js",
    ok: major > 20 || (major === 20 && minor >= 19),
    required: true,
    found: version,
    hint: "install Node.js 20.19 or later from nodejs.org or your package manager",
    value: version,
  };
}

async function runtime(): Promise<Check[]> {
  const version = packageVersion("onnxruntime-node");
  let backends: readonly { name: string; bundled: boolean }[] = [];
  let failure: string | undefined;
  try {
    backends = (await import("onnxruntime-node")).listSupportedBackends();
  } catch (error) {
    failure = String((error as Error).message).split("\n")[0];
  }
  const own: Check = {
    name: "ONNX Runtime",
    ok: failure === undefined,
    required: true,
    found: failure === undefined ? (version ?? "unknown version") : `does not load: ${failure}`,
    hint: `onnxruntime-node ${version ?? ""} has binaries for Linux, macOS (arm64) and Windows; on Linux it needs glibc 2.28 or later. This is ${platform()}-${arch()}.`,
    value: version,
  };
  if (failure !== undefined) return [own];
  // The processor is tried right here; drivers, which may crash, in processes of their own.
  const checks = backends.map(async ({ name }): Promise<Check> => {
    const result = name === "cpu" ? await probeProvider(name) : await probeInChild(name);
    return {
      name: `provider ${name}`,
      ok: result.ok,
      required: name === "cpu",
      found: result.ok
        ? `runs (${(result.seconds * 1000).toFixed(0)} ms to load and multiply)`
        : (result.error ?? ""),
      hint: providerHints[name],
      value: result,
    };
  });
  const gpu = nvidia();
  return [own, ...(await Promise.all(checks)), ...(gpu ? [gpu] : [])];
}

const providerHints: Record<string, string> = {
  cpu: "reinstall onnxruntime-node",
  webgpu:
    "needs a GPU driver with Vulkan (Debian: libvulkan1 and mesa-vulkan-drivers); without a GPU, Debian's chromium brings a software driver: VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json",
  cuda: "needs an NVIDIA GPU, CUDA 12, cuDNN 9 and the provider's libraries: node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12",
  tensorrt: "comes with the CUDA provider's libraries and needs TensorRT 10; nothing here depends on it",
  dml: "needs Windows 10 1903 or later and a DirectX 12 GPU",
  coreml: "needs macOS 11 or later",
};

/** Runs doctor-probe as a program: compiled as it is, from sources with the loader that runs them. */
function probeInChild(provider: string): Promise<Awaited<ReturnType<typeof probeProvider>>> {
  const source = import.meta.filename.endsWith(".ts");
  const script = join(import.meta.dirname, `doctor-probe.${source ? "ts" : "js"}`);
  const loader = source ? ["--import", import.meta.resolve("tsx")] : [];
  return new Promise((done) => {
    const child = spawn(process.execPath, [...loader, script, provider], {
      stdio: ["ignore", "pipe", "ignore"],
      timeout: PROBE_SECONDS * 1000,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
    });
    child.on("close", (code, signal) => {
      const failed = (error: string) => done({ ok: false, seconds: 0, error });
      try {
        const result = JSON.parse(output);
        done({ ...result, error: result.error && shortened(result.error) });
      } catch {
        failed(
          signal === "SIGKILL" ? `no answer in ${PROBE_SECONDS} s` : `its driver crashed (${signal ?? code})`,
        );
      }
    });
    child.on("error", (error) => done({ ok: false, seconds: 0, error: error.message }));
  });
}

/** Native errors begin with source lines of the runtime; what matters is the last sentence. */
function shortened(error: string): string {
  return error.replace(/^.*was false\. /, "").replace(/^OrtSessionOptions\w+: /, "");
}

function nvidia(): Check | undefined {
  const file = "/proc/driver/nvidia/version";
  if (!existsSync(file)) return undefined;
  const driver =
    /Kernel Module\s+(?:for \S+\s+)?([\d.]+)/.exec(readFileSync(file, "utf8"))?.[1] ?? "unknown version";
  return { name: "NVIDIA driver", ok: true, required: false, found: driver, value: driver };
}

function processor(): Check {
  const threads = availableParallelism();
  const model = cpus()[0]?.model.trim() || "unknown processor";
  return {
    name: "processor",
    ok: true,
    required: true,
    found: `${threads} threads available, ${model} (${platform()}-${arch()})`,
    value: { threads, model, platform: platform(), arch: arch() },
  };
}

function memory(): Check {
  const available = process.availableMemory();
  // Without a limit the runtime reports a number near 2^64.
  const total = Math.min(totalmem(), process.constrainedMemory() || totalmem());
  return {
    name: "memory",
    ok: available >= ROOMY_MEMORY,
    required: false,
    found: `${gigabytes(available)} available of ${gigabytes(total)}`,
    hint: "training a base-size model takes about 3 GB; set plan.recompute=all and a smaller batch in the recipe",
    value: { available, total },
  };
}

function disk(name: string, path: string): Check {
  const { bavail, bsize } = statfsSync(path);
  const free = bavail * bsize;
  return {
    name,
    ok: free >= ROOMY_DISK,
    required: false,
    found: `${gigabytes(free)} free in ${path}`,
    hint: "a run of a base-size model keeps two checkpoints of 1.1 GB each; set checkpoint.keep=1 or another --out",
    value: { free, path },
  };
}

function espeak(): Check {
  const name = "@echogarden/espeak-ng-emscripten";
  const version = packageVersion(name);
  return {
    name: "espeak-ng",
    ok: version !== undefined,
    required: false,
    found: version ?? "not installed: synthetic corpora and the demo need it",
    hint: `npm install ${name} (GPL-3.0, which is why it is optional)`,
    value: version,
  };
}

/** The folder that Hugging Face's tools share, by their own rules. */
export function hubCacheFolder(env: NodeJS.ProcessEnv): string {
  if (env.HF_HUB_CACHE) return resolve(env.HF_HUB_CACHE);
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  return resolve(home, "hub");
}

function hubCache(): Check {
  const folder = hubCacheFolder(process.env);
  const models = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("models--")) : [];
  return {
    name: "hub cache",
    ok: true,
    required: false,
    found: `${models.length} model${models.length === 1 ? "" : "s"} in ${folder}`,
    value: { folder, models: models.map((name) => name.slice("models--".length).replace("--", "/")) },
  };
}

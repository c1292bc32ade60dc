//! Facts about the machine, from what the system says without a library of its own. Unknown is an answer.

use std::fs::read_to_string;
use std::path::Path;

/// Assumed where the system does not say.
const DEFAULT_MEMORY_BYTES: u64 = 8 << 30;

/// The processor's name, or the architecture's.
pub fn processor() -> String {
    let name = read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The first model name of a `/proc/cpuinfo`, without marks and needless spaces.
fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.split_once(':')?.1.replace("(R)", " ").replace("(TM)", " ").replace("(tm)", " ");
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

/// How much memory this process may use: the machine's, or the least limit of its cgroups. 8 GiB where the system does
/// not say.
pub fn memory_bytes() -> u64 {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let cgroups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&cgroups).into_iter().filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    // A cgroup without a limit says "max", or a number past any memory.
    machine.into_iter().chain(limits).min().unwrap_or(DEFAULT_MEMORY_BYTES)
}

/// The total of a `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may limit a process whose `/proc/self/cgroup` is this: of its group and of every group above, for
/// both versions of cgroups.
fn limit_files(cgroups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(Path::new(root).join(group).join(file).display().to_string());
        }
    }
    files
}

/// The vector extensions that kernels may choose from, as the processor reports them at run time.
pub fn simd() -> String {
    let mut seen: Vec<&str> = Vec::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_x86_feature_detected!($name) { seen.push($name); })* };
        }
        look!("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_aarch64_feature_detected!($name) { seen.push($name); })* };
        }
        look!("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2");
    }
    if seen.is_empty() {
        seen.push("none known");
    }
    seen.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_marks() {
        let text = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t: fpu\n";
        assert_eq!(model_name(text).as_deref(), Some("Intel Xeon Processor"));
        assert_eq!(model_name("processor : 0\nBogoMIPS : 50\n"), None);
        assert_eq!(model_name("model name"), None);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_memory("MemTotal: many kB\n"), None);
        assert_eq!(total_memory("MemTotal: 18446744073709551615 kB\n"), None);
        assert!(memory_bytes() > 0);
    }

    #[test]
    fn every_group_above_may_limit_memory() {
        assert_eq!(
            limit_files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            limit_files("5:cpu,cpuacct:/x\n4:hugetlb,memory:/\nnonsense\n"),
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
    }
}

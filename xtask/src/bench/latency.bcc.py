# The same as the bpftrace script, as one would write it for bcc: a start map, and a histogram in the kernel.
# Ends when its standard input does.
import sys
from bcc import BPF

PROGRAMS = """
BPF_HASH(start, u64, u64, 65536);
BPF_HISTOGRAM(ns);

TRACEPOINT_PROBE(block, block_bio_queue) {
    if (args->dev != DEVICE) return 0;
    u64 sector = args->sector, now = bpf_ktime_get_ns();
    start.update(&sector, &now);
    return 0;
}

TRACEPOINT_PROBE(block, block_bio_complete) {
    if (args->dev != DEVICE) return 0;
    u64 sector = args->sector;
    u64 *queued = start.lookup(&sector);
    if (!queued) return 0;
    ns.increment(bpf_log2l(bpf_ktime_get_ns() - *queued));
    start.delete(&sector);
    return 0;
}
"""

programs = BPF(text=PROGRAMS.replace("DEVICE", sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
print("completed", sum(count.value for count in programs["ns"].values()))

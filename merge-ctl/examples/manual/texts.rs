//! What the manual pages say beyond `--help`: for each command its forms, files, capabilities, overhead and
//! examples. Facts are those of `docs/`, figures those of `docs/benchmarks.md`.
//!
//! Paragraphs are divided by empty lines. Every form and example that begins with `merge-ctl` is held against
//! the command line by a test.

/// What one page says.
pub(crate) struct Text {
    /// The subcommand, empty for the program.
    pub(crate) name: &'static str,
    /// What follows the command, a form a line.
    pub(crate) synopsis: &'static [&'static str],
    /// Behind what `--help` says of it.
    pub(crate) description: &'static str,
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Paragraphs.
    pub(crate) capabilities: &'static [&'static str],
    /// Paragraphs.
    pub(crate) overhead: &'static [&'static str],
    /// What it is for, and the lines to type.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Subcommands, or pages with their section.
    pub(crate) see_also: &'static [&'static str],
    /// Files below `docs/`.
    pub(crate) docs: &'static [&'static str],
}

const JOURNAL: (&str, &str) = (
    "/var/lib/merge-ctl/merges/ORIGIN.merge",
    "The journal of a merge of plain device-mapper devices, while it goes on: what `resume` needs after a crash or a reboot. A merge of LVM has none.",
);
const LOCKS: (&str, &str) = (
    "/run/merge-ctl",
    "Locks: one process drives a merge, the others look on. And the lease of a throttle, throttle.json.",
);
const LOG: (&str, &str) = (
    "/var/lib/merge-ctl/log",
    "What a detached merge says where there is no systemd. With systemd it is in the journal: journalctl -u 'merge-ctl-*'.",
);
const LVM_LOCK: (&str, &str) = (
    "/run/lock/lvm",
    "LVM's locks: an offline merge of a logical volume holds that of its group while it copies.",
);
const STATE_DIR: (&str, &str) = (
    "MERGE_CTL_STATE_DIR",
    "Put what is kept in /var/lib/merge-ctl below this directory's lib, and what is kept in /run/merge-ctl below its run.",
);
const COLOUR: (&str, &str) = ("NO_COLOR", "Where it is set and not empty, nothing is coloured.");

const TO_MERGE: &str = "Root. Of a plain device-mapper device CAP_SYS_ADMIN, which device-mapper wants on every call, and CAP_IPC_LOCK, since memory is locked while devices are suspended, would do; lvm2 wants root. \
What is seen of the merge needs CAP_BPF and CAP_PERFMON (before Linux 5.8 part of CAP_SYS_ADMIN), CAP_SYSLOG for kernel addresses and, before Linux 5.11, CAP_SYS_RESOURCE once. Without these the merge is done all the same, and less is shown.

Nothing is dropped while it may have to run lvm2 or hooks.";
const TO_LOOK: &str = "CAP_SYS_ADMIN, which device-mapper wants on every call; CAP_BPF and CAP_PERFMON (before Linux 5.8 part of it) for the probes; CAP_SYSLOG for kernel addresses and the kernel log's word on a merge that failed; before Linux 5.11 CAP_SYS_RESOURCE once. Without all but the first less is seen.";
const TO_READ: &str = "CAP_SYS_ADMIN to find a device by its name, and the right to read it: root, or the group disk. A file needs nothing but the right to read it.";
const DROPPED: &str = "All other capabilities are dropped before the first thread is started, and new ones cannot be gained; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH stay only where files are written into another user's directory, or the user is not root.";
const TRACED: &str = "While it runs, each I/O on the watched origin is counted and timed: some 0.3 microseconds of processor time an I/O, and about half of that for every other I/O of the host, which is compared with the device and let go. Where a write takes 100 microseconds, that is 0.3 % of it (docs/benchmarks.md, with the method). `--probes none` reads the kernel's status line alone, and costs applications nothing.

Samples are taken five times a second. The exceptions are read from the COW device while the merge goes on, to tell the runs that are still to come.";

/// The program's own page.
pub(crate) const WHOLE: Text = Text {
    name: "",
    synopsis: &["COMMAND [OPTION]...", "--help", "--version"],
    description: "A snapshot of device-mapper (LVM's snapshots are those) is rolled back by merging it: the kernel copies every chunk that was changed since the snapshot was taken from the COW device back to the origin, in runs of neighbouring chunks, one run after the other. merge-ctl starts such a merge, shows what the kernel does in it and why it is slow, and finishes it. It sees into the merge by eBPF programs that it carries inside; where these cannot be had it works without them, and says what it cannot see.

A volume is named as people name it: vg/lv, /dev/vg/lv, /dev/mapper/NAME, a device-mapper name, or /dev/dm-N.

Leaving a view, or killing merge-ctl, does not stop a merge by the kernel. A merge that has begun cannot be called off by anybody.",
    files: &[JOURNAL, LOCKS, LOG],
    environment: &[STATE_DIR, COLOUR],
    capabilities: &["To change anything: root. To look: CAP_SYS_ADMIN, and for the probes CAP_BPF, CAP_PERFMON and CAP_SYSLOG. Commands that only look drop all others (docs/metrics.md, \"Privileges\"). `replay`, `report` of a recording, `plan` and `explain` of a file, and `doctor` need none. `merge-ctl doctor` says what is missing."],
    overhead: &[],
    examples: &[
        ("What this host can do, and what there is on it:", "merge-ctl doctor\nmerge-ctl status"),
        (
            "Roll a logical volume back:",
            "merge-ctl plan vg/snap\nmerge-ctl start vg/snap",
        ),
        ("Look in on a merge that lvconvert(8) has started:", "merge-ctl monitor vg/data"),
        ("Why is it slow?", "merge-ctl explain vg/data"),
    ],
    see_also: &["lvmsnapshot(7)", "lvconvert(8)", "lvs(8)", "dmsetup(8)"],
    docs: &["states.md", "failed-merges.md", "kernel-notes.md"],
};

/// The subcommands' pages.
pub(crate) const COMMANDS: &[Text] = &[
    Text {
        name: "start",
        synopsis: &[
            "[OPTION]... SNAPSHOT...",
            "--check [--json] SNAPSHOT...",
            "--detach [--when-quiet] [OPTION]... SNAPSHOT",
            "--offline [--verify] [--dry-run] [OPTION]... SNAPSHOT",
            "--offline --scheduled [OPTION]... VOLUME",
            "--offline --origin-device PATH --cow-device PATH",
        ],
        description: "A logical volume is merged by lvm2's own commands, never behind its back. Where it is in use, LVM puts the merge on record and begins it at the next activation; the exit status is then 3.

Without a terminal nothing is asked: the merge begins, unless other snapshots would be lost.",
        files: &[JOURNAL, LOCKS, LOG, LVM_LOCK],
        environment: &[STATE_DIR, COLOUR],
        capabilities: &[TO_MERGE],
        overhead: &[TRACED],
        examples: &[
            ("What is in the way, and what is worth knowing:", "merge-ctl start --check vg/snap"),
            ("Merge, and watch:", "merge-ctl start vg/snap"),
            (
                "At night, as a unit of systemd of its own, once hardly anybody writes:",
                "merge-ctl start --yes --detach --when-quiet --give-up-after 60m vg/snap",
            ),
            (
                "Hold back, so that 99 % of the writes stay below 10 ms:",
                "merge-ctl start --write-latency 10ms vg/snap",
            ),
            (
                "Where nobody uses the volume, at the speed of the disks; first say how:",
                "merge-ctl start --offline --dry-run vg/snap\nmerge-ctl start --offline --verify vg/snap",
            ),
        ],
        see_also: &["plan", "monitor", "wait", "finish", "resume", "throttle", "lvconvert(8)", "systemd-run(1)"],
        docs: &["preflight.md", "offline.md", "hooks.md"],
    },
    Text {
        name: "monitor",
        synopsis: &["[OPTION]... [ORIGIN]"],
        description: "",
        files: &[LOCKS],
        environment: &[STATE_DIR, COLOUR],
        capabilities: &[TO_LOOK, DROPPED, "With --throttle, --write-latency, --on-stall or --on-done nothing is dropped, and it is root that runs it."],
        overhead: &[TRACED],
        examples: &[
            ("One merge, or all of this host:", "merge-ctl monitor vg/data\nmerge-ctl monitor"),
            ("Objects for a program, one a line:", "merge-ctl monitor --output json vg/data"),
            ("Keep what is seen:", "merge-ctl monitor --record night.mrec vg/data"),
        ],
        see_also: &["explain", "record", "throttle", "wait"],
        docs: &["states.md", "json.md"],
    },
    Text {
        name: "wait",
        synopsis: &["[OPTION]... ORIGIN"],
        description: "It also waits for a merge that a `start --when-quiet` elsewhere is still going to begin.",
        files: &[LOCKS],
        environment: &[STATE_DIR],
        capabilities: &[TO_LOOK],
        overhead: &["Looks at the kernel's status five times a second. A probe tells of the merge's end at once; with --probes none it may be seen 200 ms late."],
        examples: &[(
            "In a script, four hours at the most, and no more than ten minutes of standstill:",
            "merge-ctl wait --timeout 240m --stall-after 10m vg/data",
        )],
        see_also: &["start", "monitor"],
        docs: &["states.md"],
    },
    Text {
        name: "resume",
        synopsis: &["[OPTION]... [ORIGIN]"],
        description: "",
        files: &[JOURNAL, LOCKS],
        environment: &[STATE_DIR, COLOUR],
        capabilities: &[TO_MERGE],
        overhead: &[TRACED],
        examples: &[
            ("What was interrupted?", "merge-ctl status"),
            ("Go on with all of it after a reboot:", "merge-ctl resume --yes"),
            ("Go on with one that has failed, once its disk is repaired:", "merge-ctl resume vg/data"),
        ],
        see_also: &["status", "finish"],
        docs: &["journal.md", "failed-merges.md", "crashes.md"],
    },
    Text {
        name: "finish",
        synopsis: &["ORIGIN"],
        description: "Of a logical volume lvm2 is asked to do it. Plain devices get a plain table in place of the merging one.",
        files: &[JOURNAL, LOCKS],
        environment: &[STATE_DIR],
        capabilities: &[TO_MERGE],
        overhead: &[],
        examples: &[("All is merged, and nobody has done the last step:", "merge-ctl finish vg/data")],
        see_also: &["start", "resume", "status"],
        docs: &["states.md"],
    },
    Text {
        name: "explain",
        synopsis: &["[OPTION]... ORIGIN", "[--json] SNAPSHOT"],
        description: "",
        files: &[],
        environment: &[COLOUR],
        capabilities: &[TO_LOOK],
        overhead: &[TRACED],
        examples: &[
            ("Watch for ten seconds, and say why:", "merge-ctl explain vg/data"),
            ("For a program:", "merge-ctl explain --json --for 30s vg/data"),
            ("What the merge of a snapshot would be like:", "merge-ctl explain vg/snap"),
        ],
        see_also: &["monitor", "plan", "throttle"],
        docs: &["causes.md"],
    },
    Text {
        name: "status",
        synopsis: &["[--json] [NAME]"],
        description: "",
        files: &[JOURNAL, LOCKS],
        environment: &[STATE_DIR],
        capabilities: &["CAP_SYS_ADMIN, which device-mapper wants on every call; root, to read the journals."],
        overhead: &["A few calls of device-mapper. No probe is attached, and no exceptions are read."],
        examples: &[("All, and one:", "merge-ctl status\nmerge-ctl status --json vg/data")],
        see_also: &["monitor", "resume", "dmsetup(8)", "lvs(8)"],
        docs: &["states.md", "json.md"],
    },
    Text {
        name: "dump",
        synopsis: &["--output FILE SNAPSHOT", "--output FILE COW"],
        description: "",
        files: &[],
        environment: &[],
        capabilities: &[TO_READ],
        overhead: &["Reads the whole list of exceptions: 16 bytes a changed chunk, past the page cache."],
        examples: &[
            ("Into a file:", "merge-ctl dump --output snap.dump vg/snap"),
            ("To another machine:", "merge-ctl dump -o - vg/snap | ssh admin cat >snap.dump"),
            ("Look at it there:", "merge-ctl plan snap.dump"),
        ],
        see_also: &["plan", "explain"],
        docs: &["exception-store.md"],
    },
    Text {
        name: "plan",
        synopsis: &["[OPTION]... SNAPSHOT", "[OPTION]... COW", "[OPTION]... FILE"],
        description: "",
        files: &[],
        environment: &[COLOUR],
        capabilities: &[TO_READ],
        overhead: &["Reads the list of exceptions, 16 bytes a changed chunk, past the page cache, and for about a second pieces of both devices to see how fast they are. --no-calibrate leaves that out."],
        examples: &[
            ("How long will it take?", "merge-ctl plan vg/snap"),
            (
                "With costs that another merge has shown:",
                "merge-ctl plan --run-cost 25ms --byte-rate 100MiB vg/snap",
            ),
            ("Every run, for a program:", "merge-ctl plan --runs --json vg/snap"),
        ],
        see_also: &["start", "explain", "dump"],
        docs: &["plan.md", "exception-store.md"],
    },
    Text {
        name: "record",
        synopsis: &["--output FILE [OPTION]... [ORIGIN]..."],
        description: "",
        files: &[("FILE", "The recording, for its owner alone. It names devices and processes, and holds no data of any volume.")],
        environment: &[STATE_DIR],
        capabilities: &[TO_LOOK, DROPPED],
        overhead: &[TRACED],
        examples: &[
            ("One merge, to its end:", "merge-ctl record --output night.mrec vg/data"),
            ("All of this host:", "merge-ctl record --output host.mrec"),
        ],
        see_also: &["replay", "report", "monitor"],
        docs: &["recording.md"],
    },
    Text {
        name: "replay",
        synopsis: &["[OPTION]... FILE"],
        description: "",
        files: &[],
        environment: &[COLOUR],
        capabilities: &["None: any user, on any machine."],
        overhead: &[],
        examples: &[
            ("As it was:", "merge-ctl replay night.mrec"),
            ("A hundred times as fast:", "merge-ctl replay --speed 100 night.mrec"),
            ("The objects that there were:", "merge-ctl replay --output json night.mrec"),
        ],
        see_also: &["record", "report"],
        docs: &["recording.md"],
    },
    Text {
        name: "report",
        synopsis: &["--output FILE RECORDING", "--output FILE [OPTION]... ORIGIN"],
        description: "",
        files: &[],
        environment: &[STATE_DIR],
        capabilities: &["Of a recording: none. Of a merge that goes on:", TO_LOOK],
        overhead: &["Of a recording: none. Of a merge that goes on: that of merge-ctl-monitor(8)."],
        examples: &[
            ("A page:", "merge-ctl report --output night.html night.mrec"),
            ("A text for a ticket:", "merge-ctl report --output night.md night.mrec"),
            ("A trace for Perfetto:", "merge-ctl report --output trace.json night.mrec"),
        ],
        see_also: &["record", "replay"],
        docs: &["report.md"],
    },
    Text {
        name: "throttle",
        synopsis: &[
            "[OPTION]... ORIGIN PERCENT",
            "[OPTION]... --profile PROFILE ORIGIN",
            "[OPTION]... --write-latency DURATION ORIGIN",
            "",
            "--reset",
        ],
        description: "The kernel has one setting, for all merges and all copies on write of the host. It sleeps 100 ms at a time, and has no effect where storage is fast or runs are short: what came of it is measured and said.",
        files: &[
            ("/run/merge-ctl/throttle.json", "The lease: what the setting was, what it was made, by which process and for which merge."),
            ("/sys/module/dm_snapshot/parameters/snapshot_copy_throttle", "The kernel's setting, in percent."),
        ],
        environment: &[STATE_DIR],
        capabilities: &["Root: the kernel's setting is a file of root's. To see what comes of it, what monitor needs."],
        overhead: &["To hold a latency needs the probes, as monitor does. The throttle itself makes writes into the run in progress slower, never faster."],
        examples: &[
            ("Hold 99 % of the writes below 10 ms:", "merge-ctl throttle --write-latency 10ms vg/data"),
            ("Copy for a third of the time:", "merge-ctl throttle vg/data 30%"),
            ("What is set, and by whom:", "merge-ctl throttle"),
            ("Put it back after a crash:", "merge-ctl throttle --reset"),
        ],
        see_also: &["start", "monitor", "explain"],
        docs: &["throttle.md"],
    },
    Text {
        name: "doctor",
        synopsis: &["[--json]"],
        description: "",
        files: &[],
        environment: &[STATE_DIR, COLOUR],
        capabilities: &["None; as root it sees all."],
        overhead: &["About a second. Each probe is attached for a moment, and taken off before the next one."],
        examples: &[("Before the first merge, and after a new kernel:", "merge-ctl doctor")],
        see_also: &["start", "status"],
        docs: &["doctor.md", "kernel-notes.md"],
    },
    Text {
        name: "export",
        synopsis: &[
            "[--listen ADDRESS:PORT] [OPTION]...",
            "--textfile DIRECTORY [OPTION]...",
            "--otlp URL [OPTION]...",
            "--replay FILE",
        ],
        description: "",
        files: &[
            ("merge-ctl-export.service", "The unit; it is not enabled by the package."),
            ("/usr/share/merge-ctl/prometheus/merge-ctl.rules.yml", "Alert rules for Prometheus, and their test beside them."),
            ("/usr/share/merge-ctl/grafana/merge-ctl.json", "A dashboard for Grafana."),
            ("DIRECTORY/merge-ctl.prom", "With --textfile: the metrics, for node_exporter."),
        ],
        environment: &[],
        capabilities: &[TO_LOOK, DROPPED],
        overhead: &["While nothing is merged: a look at the host's snapshots every 15 seconds, and no probe. While something is merged, each I/O on its origin is counted and timed: some 0.3 microseconds of processor time an I/O, and about half of that for every other I/O of the host (docs/benchmarks.md). --probes none leaves that out."],
        examples: &[
            ("As a service of systemd, and what it tells:", "systemctl enable --now merge-ctl-export.service\ncurl http://127.0.0.1:9946/metrics"),
            ("For node_exporter:", "merge-ctl export --textfile /var/lib/prometheus/node-exporter"),
            ("To a collector of OpenTelemetry:", "merge-ctl export --otlp http://127.0.0.1:4318"),
        ],
        see_also: &["monitor", "systemctl(1)"],
        docs: &["metrics.md"],
    },
];

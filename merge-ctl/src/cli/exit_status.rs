//! What each exit status means, below a command's help.

pub(super) const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  another error
  2  wrong usage
  3  still merging; all is merged and the merge still has to be finished; or LVM begins it at the
     next activation
  4  still merging, and the merge stood still when it was left
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  7  the time was over (--give-up-after, wait --timeout; --time-limit before anything was begun)
  8  refused, and nothing was changed
Of several merges the one that ended worst counts: 5 before 1, 2, 8, 6, 7, 4, 3 and 0.";

pub(super) const FINISH_STATUS: &str = "\
Exit status:
  0  finished: the origin is a plain device again
  1  another error
  2  wrong usage, or no such volume
  3  still merging, or lvm2 was asked to finish it and has not for a minute
  5  the merge failed, or its exceptions are invalid
  6  a privilege or a kernel feature is missing
  8  refused, and nothing was changed";

pub(super) const READ_STATUS: &str = "\
Exit status:
  0  done
  1  another error
  2  wrong usage, or no such volume
  5  the snapshot is invalid
  6  a privilege or a kernel feature is missing
  8  refused: there is nothing to read, its device is suspended, or the file to make exists";

pub(super) const STATUS_STATUS: &str = "\
Exit status:
  0  listed, whatever state the merges are in
  1  another error
  2  wrong usage, or no such volume
  6  a privilege or a kernel feature is missing";

pub(super) const WAIT_STATUS: &str = "\
Exit status:
  0  no merge goes on, and none is to come: it has been finished, or there was none when asked
  1  another error, or the origin carries no merge any more and its end was not seen
  2  wrong usage, or no such volume
  3  not finished, and waiting makes no sense: LVM begins it at the next activation, or all is
     merged and nobody has finished it for 5 s (20 s where lvm2 has to, which looks every 15 s)
  4  stalled for longer than --stall-after
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  7  not done when --timeout was over";

pub(super) const EXPLAIN_STATUS: &str = "\
Exit status:
  0  explained, also where the merge has failed
  1  another error
  2  wrong usage
  6  a privilege or a kernel feature is missing
  8  refused: there are no exceptions to read, or their device is suspended";

pub(super) const REPLAY_STATUS: &str = "\
Exit status:
  0  shown to its end, or to where whoever recorded was stopped; or you have left
  1  parts of the file are damaged, or it is no recording, or cannot be read
  2  wrong usage";

pub(super) const REPORT_STATUS: &str = "\
Exit status of a report of a recording:
  0  the report is made
  1  it is made, and parts of the recording are damaged; or it is no recording, or there is another error
  2  wrong usage
  8  refused: the file to make exists
Of a merge that goes on, the report is made, and the exit status is that of monitor: 0 finished, 3 still merging or not
finished, 4 stalled, 5 failed, 6 a privilege or a kernel feature is missing.";

pub(super) const THROTTLE_STATUS: &str = "\
Exit status:
  0  done: the merge is finished; the setting was shown or reset
  1  another error, or somebody else has changed the setting meanwhile
  2  wrong usage
  3  still merging, or all is merged and the merge still has to be finished
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  8  refused: another process throttles";

pub(super) const DOCTOR_STATUS: &str = "\
Exit status:
  0  all that a merge needs is there, of logical volumes or of plain device-mapper devices
  1  another error
  2  wrong usage
  6  something without which nothing can be merged is missing, or cannot be seen: a privilege, or
     a part of the kernel";

pub(super) const EXPORT_STATUS: &str = "\
Exit status:
  0  a signal has ended it
  1  another error: the address or the directory cannot be used
  2  wrong usage
  6  a privilege is missing";

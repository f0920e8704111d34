import Testing

/// What real nodes do when strangers, clocks, disks and engines turn against them. One after the other: each of these
/// starts several processes.
@Suite("Hard times", .serialized) enum HardTimes {}

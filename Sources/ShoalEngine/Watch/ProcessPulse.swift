internal import CShoalSystem

extension EngineWatchdog.Pulse {
    /// Of a running process; nil when it is gone or the system does not tell. A few microseconds, no waiting.
    package init?(of processID: Int32) {
        var pulse = shoal_pulse()
        guard shoal_process_pulse(processID, &pulse) == 0 else { return nil }
        self.init(
            processorTime: .nanoseconds(pulse.cpu_nanoseconds), readByteCount: pulse.read_bytes,
            majorFaultCount: pulse.major_faults, isStopped: pulse.is_stopped != 0)
    }
}

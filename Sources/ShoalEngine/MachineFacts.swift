internal import CShoalSystem
package import ShoalCore

/// What this machine has. Nil is "unknown", never a guess.
package enum MachineFacts {
    /// The control group's limit if that is lower than the machine's memory.
    package static var memoryTotal: ByteCount? { byteCount(shoal_memory_total_bytes()) }

    /// What can be allocated now without swapping.
    package static var memoryAvailable: ByteCount? { byteCount(shoal_memory_available_bytes()) }

    /// Processors that this process may use.
    package static var coreCount: Int { Int(shoal_core_count()) }

    /// The processor's name where the system tells it, its kind otherwise, with the number of cores.
    package static var processorName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        shoal_processor_name(&buffer, buffer.count)
        let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "\(name), \(coreCount) cores"
    }

    /// Resident memory of a process; nil means this one.
    package static func residentBytes(of processID: Int32? = nil) -> ByteCount? {
        byteCount(shoal_resident_bytes(processID ?? 0))
    }

    /// Processor time that a process has used, in seconds.
    package static func processorSeconds(of processID: Int32) -> Double? {
        var pulse = shoal_pulse()
        guard shoal_process_pulse(processID, &pulse) == 0 else { return nil }
        return Double(pulse.cpu_nanoseconds) / 1_000_000_000
    }

    /// Whether a process is stopped by a signal; nil when unknown.
    package static func isStopped(_ processID: Int32) -> Bool? {
        var pulse = shoal_pulse()
        return shoal_process_pulse(processID, &pulse) == 0 ? pulse.is_stopped != 0 : nil
    }

    private static func byteCount(_ value: Int64) -> ByteCount? {
        Int(exactly: value).flatMap { $0 >= 0 ? ByteCount($0) : nil }
    }
}

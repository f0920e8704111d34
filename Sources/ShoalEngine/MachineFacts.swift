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

    private static func byteCount(_ value: Int64) -> ByteCount? {
        Int(exactly: value).flatMap { $0 >= 0 ? ByteCount($0) : nil }
    }
}

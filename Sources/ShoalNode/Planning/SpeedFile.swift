import ShoalCore
import ShoalTrust

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What a node has measured of itself, kept in its data folder.
struct SpeedRecord: Sendable, Codable, Hashable {
    /// Of another machine, or another processor, the numbers mean nothing.
    var machine: String
    var speed: NodeSpeed
}

/// The file `speed.json` of a data folder, replaced as a whole.
struct SpeedFile: Sendable {
    static let name = "speed.json"
    private static let byteCountMax = 1 << 20

    private let file: SecretFile

    init(dataDirectory: String) { file = SecretFile("\(dataDirectory)/\(SpeedFile.name)") }

    /// Nil when there is none. A damaged one is moved aside; `notice` then is a sentence for the log.
    func load() -> (record: SpeedRecord?, notice: String?) {
        do throws(ShoalError) {
            guard let bytes = try file.read(byteCountMax: SpeedFile.byteCountMax) else { return (nil, nil) }
            // Whatever is wrong with it, the file is of no use.
            if let record = try? JSONDecoder().decode(SpeedRecord.self, from: Data(bytes)), record.speed.isPlausible {
                return (record, nil)
            }
            let aside = try file.moveAside(suffix: "damaged-\(UnixClock.seconds())")
            return (nil, "the measured speed of this node was damaged and is at \(aside); it is measured again")
        } catch {
            return (nil, "the measured speed of this node cannot be read: \(error.message)")
        }
    }

    func store(_ record: SpeedRecord) throws(ShoalError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        let data: Data
        do {
            data = try encoder.encode(record)
        } catch {
            throw ShoalError(.internal, "the measured speed cannot be written as JSON: \(error)")
        }
        try file.write(Array(data))
    }
}

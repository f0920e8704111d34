import ShoalCore
import ShoalTrust

/// The number of this run of the node: kept in the data folder and increased with each start, so that other nodes tell
/// a restart from a pause.
enum NodeLife {
    static let fileName = "life"
    private static let byteCountMax = 64
    /// Numbers stay exact in any JSON reader.
    private static let firstMax: UInt64 = 1 << 52

    /// The next life. When the last one is not known, a random one, which is as good but for one chance in 2^52. A
    /// damaged file is moved aside; `notice` then is a sentence for the log, as when the number cannot be stored.
    static func begin(in directory: String) -> (life: UInt64, notice: String?) {
        let file = SecretFile("\(directory)/\(fileName)")
        var notice: String?
        var life = UInt64.random(in: 1...firstMax)
        do throws(ShoalError) {
            if let bytes = try file.read(byteCountMax: byteCountMax) {
                if let last = number(bytes) {
                    life = last + 1
                } else {
                    let aside = try file.moveAside(suffix: "damaged-\(UnixClock.seconds())")
                    notice = "the number of this node's runs was damaged and is at \(aside); counting begins anew"
                }
            }
            try file.write(Array("\(life)\n".utf8))
        } catch {
            notice = "the number of this node's runs cannot be kept: \(error.message)"
        }
        return (life, notice)
    }

    private static func number(_ bytes: [UInt8]) -> UInt64? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.hasSuffix("\n"), let number = UInt64(text.dropLast()), number < .max >> 10 else { return nil }
        return number
    }
}

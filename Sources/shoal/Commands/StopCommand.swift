import ArgumentParser
import ShoalCore

/// `shoal stop`.
struct StopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "Stop an instance and free its memory on every node.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "An instance's id, or the name of the model it serves.")
    var instance: String

    @Flag(name: .long, help: "Print the instance's last report as JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let report: InstanceReport = try await node.delete("/shoal/v1/instances/\(percentEncoded(instance))")
            if json { return try Terminal.writeJSON(report) }
            Terminal.writeLine("stopped \(report.model), instance \(report.id)")
        }
    }
}

/// `text` as one component of a URL's path.
func percentEncoded(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            encoded.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16, uppercase: true)
            encoded += "%" + (digits.count < 2 ? "0" : "") + digits
        }
    }
    return encoded
}

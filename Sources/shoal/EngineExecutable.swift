import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Where the engine's program is: `SHOAL_ENGINE`, or `shoal-engine` beside this program.
enum EngineExecutable {
    static func path() throws(ShoalError) -> String {
        let environment = ProcessInfo.processInfo.environment
        let path = environment["SHOAL_ENGINE"] ?? besideThisProgram()
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw ShoalError(
                .engineLost, "there is no engine program at \(path); build it with make release, or set SHOAL_ENGINE")
        }
        return path
    }

    private static func besideThisProgram() -> String {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        guard let slash = own.lastIndex(of: "/") else { return "shoal-engine" }
        return own[..<slash] + "/shoal-engine"
    }
}

// swift-tools-version: 6.2
import PackageDescription

// Micro-benchmarks of what decides and encodes, in a package of their own so that nobody else builds their
// dependencies. The sources are those of Shoal, by symbolic link: what is measured needs access inside one package.
// Run them with `make microbench`; see docs/benchmarks.md.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")

let package = Package(
    name: "shoal-benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    ],
    targets: [
        library("ShoalCore"),
        library("ShoalModel", ["ShoalCore"]),
        library("ShoalPlanning", ["ShoalCore", "ShoalModel"]),
        library("ShoalScheduling", ["ShoalCore"]),
        library("ShoalWire", ["ShoalCore", nioCore]),
        .executableTarget(
            name: "ShoalBenchmarks",
            dependencies: [
                "ShoalCore", "ShoalModel", "ShoalPlanning", "ShoalScheduling", "ShoalWire", nioCore,
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/ShoalBenchmarks", swiftSettings: settings,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
    ]
)

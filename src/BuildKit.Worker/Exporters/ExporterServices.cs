using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Storage.Content;
using BuildKit.Worker.Exporters.Images;
using BuildKit.Worker.Exporters.Trees;

namespace BuildKit.Worker.Exporters;

/// <summary>The daemon's parts that exporters use; one object for the daemon's life.</summary>
public sealed record ExporterServices
{
    /// <summary>Where configs, manifests and rewritten layers are written.</summary>
    public required IContentStore Content { get; init; }

    /// <summary>Keeps what an export wrote until it ends.</summary>
    public required BlobLeases Leases { get; init; }

    /// <summary>Pushes images.</summary>
    public required RegistryClient Registry { get; init; }

    /// <summary>Platform of images whose config names none.</summary>
    public required Platform DefaultPlatform { get; init; }

    /// <summary>Place for temporary mounts.</summary>
    public required string TemporaryDirectory { get; init; }

    /// <summary>Version of this program as bills of materials name it: <c>v0.20.0</c>.</summary>
    public required string Version { get; init; }

    /// <summary>Clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>The factories of all exporter types, by type.</summary>
    public IReadOnlyDictionary<string, IExporterFactory> CreateFactories() => new IExporterFactory[]
    {
        new ImageExporterFactory(this),
        new ImageArchiveExporterFactory(this, isDocker: false),
        new ImageArchiveExporterFactory(this, isDocker: true),
        new LocalExporterFactory(this),
        new TarExporterFactory(this),
    }.ToDictionary(factory => factory.Type, StringComparer.Ordinal);
}

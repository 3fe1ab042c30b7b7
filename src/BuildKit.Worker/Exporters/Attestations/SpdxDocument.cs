using System.Text.Json;
using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>
/// Writes the bill of materials of an image anew with what the exporter knows (spec 07 §9.5 step 5): each file without a
/// comment is told its layer, and who changed the document is added to its creators. What comes out is SPDX 2.3 in the
/// order of its tools: lists that are empty, and what SPDX does not know, are gone.
/// </summary>
internal static class SpdxDocument
{
    /// <summary>The document with layers and creator; null when it is no SPDX 2 document, which stays as it is.</summary>
    /// <param name="json">The document.</param>
    /// <param name="find">The blobs of the layers that hold files.</param>
    /// <param name="creator">Who changes it.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    public static async Task<byte[]?> SupplementAsync(
        byte[] json, Func<IReadOnlyCollection<string>, CancellationToken, Task<IReadOnlyDictionary<string, Digest>>> find, string creator,
        CancellationToken cancellationToken)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = new SpdxObject(document.RootElement);
            if (root.Text("spdxVersion") is not ("SPDX-2.1" or "SPDX-2.2" or "SPDX-2.3"))
                return null;
            var names = Files(root).Where(file => file.Text("comment").Length == 0).Select(file => LayerFiles.Normalize(file.Text("fileName"))).ToHashSet(StringComparer.Ordinal);
            return new Writer(await find(names, cancellationToken), creator).Write(root);
        }
        catch (Exception error) when (error is JsonException or FormatException)
        {
            // Documented: an attestation that cannot be read is exported as the scanner made it.
            return null;
        }
    }

    private static IEnumerable<SpdxObject> Files(SpdxObject root) =>
        root.Objects("files").Concat(root.Objects("packages").SelectMany(package => package.Objects("files")));

    private sealed class Writer(IReadOnlyDictionary<string, Digest> layers, string creator)
    {
        private readonly CanonicalJsonWriter _json = new();

        public byte[] Write(SpdxObject root)
        {
            _json.WriteStartObject();
            Text("spdxVersion", "SPDX-2.3");
            Texts(root, "dataLicense");
            Text("SPDXID", SpdxId.Element(root.Text("SPDXID")));
            Texts(root, "name", "documentNamespace");
            List("externalDocumentRefs", root.Objects("externalDocumentRefs"), reference =>
            {
                Texts(reference, "externalDocumentId", "spdxDocument");
                _json.WriteName("checksum");
                Checksum(reference.Object("checksum"));
            });
            NonEmpty(root, "comment");
            CreationInfo(root.Object("creationInfo"));
            List("packages", root.Objects("packages"), Package);
            List("files", root.Objects("files"), File);
            List("hasExtractedLicensingInfos", root.Objects("hasExtractedLicensingInfos"), license =>
            {
                Texts(license, "licenseId", "extractedText");
                NonEmpty(license, "name");
                Strings(license, "seeAlsos");
                NonEmpty(license, "comment");
            });
            List("relationships", SpdxRelationship.All(root), relationship =>
            {
                Text("spdxElementId", relationship.From);
                Text("relatedSpdxElement", relationship.To);
                Text("relationshipType", relationship.Type);
                _json.WriteText("comment", relationship.Comment);
            });
            List("annotations", root.Objects("annotations"), Annotation);
            List("snippets", root.Objects("snippets"), Snippet);
            _json.WriteEndObject();
            return _json.ToArray();
        }

        private void CreationInfo(SpdxObject info)
        {
            _json.WriteName("creationInfo");
            _json.WriteStartObject();
            NonEmpty(info, "licenseListVersion");
            _json.WriteStrings("creators", [.. info.Texts("creators").Select(SpdxId.Agent), creator]);
            Texts(info, "created");
            NonEmpty(info, "comment");
            _json.WriteEndObject();
        }

        private void Package(SpdxObject package)
        {
            Texts(package, "name");
            Text("SPDXID", SpdxId.Element(package.Text("SPDXID")));
            NonEmpty(package, "versionInfo", "packageFileName");
            _json.WriteText("supplier", SpdxId.Supplier(package.Text("supplier")));
            _json.WriteText("originator", SpdxId.Originator(package.Text("originator")));
            Texts(package, "downloadLocation");
            _json.WriteName("filesAnalyzed");
            _json.WriteBoolean(package.Boolean("filesAnalyzed", missing: true));
            if (package.Has("packageVerificationCode"))
            {
                var code = package.Object("packageVerificationCode");
                _json.WriteName("packageVerificationCode");
                _json.WriteStartObject();
                Texts(code, "packageVerificationCodeValue");
                Strings(code, "packageVerificationCodeExcludedFiles");
                _json.WriteEndObject();
            }
            Checksums(package, omitEmpty: true);
            NonEmpty(package, "homepage", "sourceInfo", "licenseConcluded");
            Strings(package, "licenseInfoFromFiles");
            NonEmpty(package, "licenseDeclared", "licenseComments", "copyrightText", "summary", "description", "comment");
            List("externalRefs", package.Objects("externalRefs"), reference =>
            {
                // Written with an underscore by tools of older versions.
                Text("referenceCategory", reference.Text("referenceCategory").Replace('_', '-'));
                Texts(reference, "referenceType", "referenceLocator");
                NonEmpty(reference, "comment");
            });
            Strings(package, "attributionTexts");
            NonEmpty(package, "primaryPackagePurpose", "releaseDate", "builtDate", "validUntilDate");
            List("files", package.Objects("files"), File);
            List("annotations", package.Objects("annotations"), Annotation);
        }

        private void File(SpdxObject file)
        {
            Texts(file, "fileName");
            Text("SPDXID", SpdxId.Element(file.Text("SPDXID")));
            Strings(file, "fileTypes");
            Checksums(file, omitEmpty: false);
            NonEmpty(file, "licenseConcluded");
            Strings(file, "licenseInfoInFiles");
            NonEmpty(file, "licenseComments");
            Texts(file, "copyrightText");
            List("artifactOfs", file.Objects("artifactOfs"), project => Texts(project, "name", "homePage", "URI"));
            var comment = file.Text("comment");
            if (comment.Length == 0 && layers.TryGetValue(LayerFiles.Normalize(file.Text("fileName")), out var layer))
                comment = $"layerID: {layer}";
            _json.WriteText("comment", comment);
            NonEmpty(file, "noticeText");
            Strings(file, "fileContributors");
            Strings(file, "attributionTexts");
            Strings(file, "fileDependencies");
            List("annotations", file.Objects("annotations"), Annotation);
        }

        private void Annotation(SpdxObject annotation)
        {
            Text("annotator", SpdxId.Agent(annotation.Text("annotator")));
            Texts(annotation, "annotationDate", "annotationType", "comment");
        }

        private void Snippet(SpdxObject snippet)
        {
            Text("SPDXID", SpdxId.Element(snippet.Text("SPDXID")));
            Text("snippetFromFile", SpdxId.Element(snippet.Text("snippetFromFile")));
            _json.WriteName("ranges");
            if (!snippet.Has("ranges"))
                _json.WriteNull();
            else
                Array(snippet.Objects("ranges"), range =>
                {
                    Pointer("startPointer", range.Object("startPointer"));
                    Pointer("endPointer", range.Object("endPointer"));
                });
            NonEmpty(snippet, "licenseConcluded");
            Strings(snippet, "licenseInfoInSnippets");
            NonEmpty(snippet, "licenseComments");
            Texts(snippet, "copyrightText");
            NonEmpty(snippet, "comment", "name");
        }

        private void Pointer(string name, SpdxObject pointer)
        {
            _json.WriteName(name);
            _json.WriteStartObject();
            _json.WriteNonZero("offset", pointer.Number("offset"));
            _json.WriteNonZero("lineNumber", pointer.Number("lineNumber"));
            Text("reference", SpdxId.Element(pointer.Text("reference")));
            _json.WriteEndObject();
        }

        private void Checksums(SpdxObject owner, bool omitEmpty)
        {
            if (!owner.Has("checksums"))
            {
                if (omitEmpty)
                    return;
                _json.WriteName("checksums");
                _json.WriteNull();
                return;
            }
            var checksums = owner.Objects("checksums").ToList();
            if (checksums.Count == 0 && omitEmpty)
                return;
            _json.WriteName("checksums");
            _json.WriteStartArray();
            foreach (var checksum in checksums)
                Checksum(checksum);
            _json.WriteEndArray();
        }

        private void Checksum(SpdxObject checksum)
        {
            _json.WriteStartObject();
            Texts(checksum, "algorithm", "checksumValue");
            _json.WriteEndObject();
        }

        private void List<T>(string name, IEnumerable<T> items, Action<T> write)
        {
            if (items.ToList() is not { Count: > 0 } list)
                return;
            _json.WriteName(name);
            Array(list, write);
        }

        private void Array<T>(IEnumerable<T> items, Action<T> write)
        {
            _json.WriteStartArray();
            foreach (var item in items)
            {
                _json.WriteStartObject();
                write(item);
                _json.WriteEndObject();
            }
            _json.WriteEndArray();
        }

        private void Text(string name, string value)
        {
            _json.WriteName(name);
            _json.WriteString(value);
        }

        private void Texts(SpdxObject owner, params ReadOnlySpan<string> names)
        {
            foreach (var name in names)
                Text(name, owner.Text(name));
        }

        private void NonEmpty(SpdxObject owner, params ReadOnlySpan<string> names)
        {
            foreach (var name in names)
                _json.WriteText(name, owner.Text(name));
        }

        private void Strings(SpdxObject owner, string name) => _json.WriteStrings(name, [.. owner.Texts(name)]);
    }
}

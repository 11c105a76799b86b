"""The DICOM node: receives studies, denoises their series by rules, and sends the derived series on."""
